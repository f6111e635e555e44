//! The enumerations inside digests, each with its numbers on the wire.

macro_rules! values {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $value:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum $name { $($(#[$doc])* $variant = $value,)* }

        impl $name {
            /// Every value.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The value with this number.
            pub fn from_wire(byte: u8) -> Option<Self> {
                match byte { $($value => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

values! {
    /// What a member is held to be.
    MemberState {
        /// Answers.
        Alive = 1,
        /// Does not answer; may refute.
        Suspect = 2,
        /// Held gone.
        Dead = 3,
        /// Said that it goes.
        Left = 4,
    }
}

values! {
    /// Who acknowledges a delivery.
    AckMode {
        /// The subscriber's application.
        Client = 0,
        /// The subscriber's node, when it has queued the message.
        Node = 1,
    }
}

values! {
    /// In which order a subscription sees the messages of one publisher.
    OrderMode {
        /// On arrival.
        Unordered = 0,
        /// By increasing seq, holes named.
        Ordered = 1,
    }
}

values! {
    /// What happens to a subscriber that takes nothing.
    SlowPolicy {
        /// It moves to catch-up.
        Detach = 0,
        /// It loses its oldest messages: the newest 4,096 of each publisher wait for it.
        DropOldest = 1,
        /// It loses its newest messages.
        DropNewest = 2,
        /// The publisher waits.
        Block = 3,
    }
}

values! {
    /// Why a message is not known delivered.
    FailReason {
        /// Its attempts are used up.
        MaxAttempts = 1,
        /// The subscriber's node is dead and not waited for.
        NodeDead = 2,
        /// The subscription ended.
        Unsubscribed = 3,
        /// Parked for too long.
        Expired = 4,
        /// The store was full.
        Overflow = 5,
        /// Dropped by the subscription's policy.
        Rejected = 6,
        /// The subscriber's node left.
        Left = 7,
        /// Larger than the subscriber takes.
        TooLarge = 8,
    }
}

impl FailReason {
    /// The reason with this number, as the u32 fields of digests carry it.
    pub fn from_u32(value: u32) -> Option<Self> {
        u8::try_from(value).ok().and_then(Self::from_wire)
    }
}
