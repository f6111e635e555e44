//! The small numbers of the client protocol and their names: modes of a subscription, outcomes, errors.

macro_rules! codes {
    ($(#[$doc:meta])* $name:ident : $int:ty { $($(#[$item:meta])* $variant:ident = $value:literal $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr($int)]
        pub enum $name { $($(#[$item])* $variant = $value,)* }

        impl $name {
            /// Every value.
            pub const ALL: &'static [$name] = &[$($name::$variant,)*];

            /// The value of a number, if it is one.
            pub const fn of(number: $int) -> Option<$name> {
                match number { $($value => Some($name::$variant),)* _ => None }
            }

            /// The name that people read, in logs and in JSON.
            pub const fn name(self) -> &'static str {
                match self { $($name::$variant => $text,)* }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}

codes! {
    /// Who acknowledges a message: what `Delivered` means for a subscription.
    AckMode: u8 {
        /// The client's application, by an `ACK` frame.
        Client = 0 "client",
        /// Its node, as soon as it queued the message for the client.
        Node = 1 "node",
    }
}

codes! {
    /// In which order a subscription sees the messages of one publisher.
    Order: u8 {
        /// As they arrive.
        Unordered = 0 "unordered",
        /// By increasing seq, every hole reported as a gap.
        Ordered = 1 "ordered",
    }
}

codes! {
    /// What happens when a subscriber is too slow.
    Policy: u8 {
        /// It moves to catch-up; its messages fail only by the store's bound.
        Detach = 0 "detach",
        /// Its oldest messages are given up: the newest 4,096 of each publisher wait for it.
        DropOldest = 1 "drop_oldest",
        /// New messages are given up.
        DropNewest = 2 "drop_newest",
        /// Its publishers wait.
        Block = 3 "block",
    }
}

codes! {
    /// What became of a message at one subscription.
    Outcome: u32 {
        /// It was acknowledged.
        Delivered = 0 "delivered",
        /// All attempts were made without an acknowledgement.
        MaxAttempts = 1 "max_attempts",
        /// The subscriber's node died.
        NodeDead = 2 "node_dead",
        /// The subscription ended.
        Unsubscribed = 3 "unsubscribed",
        /// It was parked for longer than allowed.
        Expired = 4 "expired",
        /// The store was full.
        Overflow = 5 "overflow",
        /// The subscription's policy dropped it.
        Rejected = 6 "rejected",
        /// The subscriber's node left.
        Left = 7 "left",
        /// It exceeds what the subscriber's node takes.
        TooLarge = 8 "too_large",
        /// The daemon was lost before it told. Only client libraries report it.
        Unknown = 255 "unknown",
    }
}

codes! {
    /// Why something was refused.
    ErrorCode: u16 {
        /// The frame is malformed, unknown, or out of place.
        Protocol = 1 "protocol",
        /// No common version of the client protocol.
        Version = 2 "version",
        /// The client is not who it says, or its uid may not attach.
        Denied = 3 "denied",
        /// A newer login under the same name took over.
        Fenced = 4 "fenced",
        /// The client may not do this: overlay, topic or pattern.
        NotAllowed = 5 "not_allowed",
        /// The node does not run this overlay.
        NoOverlay = 6 "no_overlay",
        /// Not a topic, or not a pattern.
        BadTopic = 7 "bad_topic",
        /// The message exceeds the overlay's limit.
        TooLarge = 8 "too_large",
        /// A bound of the daemon is reached: clients, subscriptions, publishers.
        TooMany = 9 "too_many",
        /// Too many failed attempts; try again later.
        Busy = 10 "busy",
        /// The daemon, or the overlay, is stopping.
        Leaving = 11 "leaving",
        /// A number that names nothing on this connection, or that is taken.
        BadNumber = 12 "bad_number",
        /// The daemon could not do it.
        Failed = 13 "failed",
    }
}
