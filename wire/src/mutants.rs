//! Seeded faults, to show that the tests find them. They exist only with the feature `mutants`, in which no daemon is ever built;
//! without it [`mutant`] is a constant and nothing of them is left. `docs/mutants.md` says what catches which.
//!
//! Each is one line at its place: `if mutant(Mutant::X)`. The environment chooses one for the whole process, so that every
//! test program runs with it as it is: `TIDINGS_MUTANT=HoleUntold`.

macro_rules! mutants {
    ($($(#[doc = $breaks:literal])+ $name:ident,)+) => {
        /// A fault, by what it breaks.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Mutant { $($(#[doc = $breaks])+ $name,)+ }

        impl Mutant {
            /// Every one.
            #[cfg(feature = "mutants")]
            pub const ALL: &'static [Mutant] = &[$(Mutant::$name,)+];

            /// What it breaks, in a sentence.
            #[cfg(feature = "mutants")]
            pub fn breaks(self) -> &'static str {
                match self { $(Mutant::$name => concat!($($breaks),+).trim_ascii(),)+ }
            }
        }
    };
}

mutants! {
    // Sealing and windows: design section 5.
    /// A link's window is marked before its datagram is opened.
    MarkedUnopened,
    /// A link's window takes one counter more than it has bits.
    WindowEdge,
    /// A stream's window takes one counter more than it has bits.
    StreamWindowEdge,
    /// A jump ahead leaves the old bits of a link's window standing.
    JumpKeepsBits,
    /// A counter of a link seals twice.
    CounterTwice,
    /// All epochs have the key of the first.
    OneEpoch,
    /// Both directions of a link have the same keys.
    OneDirection,
    /// The responder's boot is not bound into the keys of a link.
    BootUnbound,
    /// The first four bytes of a header are not authenticated.
    HeaderUnsealed,

    // Handshakes and links: section 5.
    /// The responder's secret is never drawn anew.
    SecretKept,
    /// An H3 is taken whatever its counter is.
    CounterIgnored,
    /// The responder's nonce is not bound to the address that it was given to.
    AddressUnbound,
    /// A datagram of a link that comes twice is not acknowledged again.
    DuplicateUnheard,
    /// A datagram of a stream that comes twice is not acknowledged again.
    StreamDuplicateUnheard,
    /// A peer moves to whatever address a datagram of it came from, without a probe.
    AddressBelieved,
    /// Streams of a publisher's earlier boot stay open.
    OldStreamsHeard,
    /// The session of one publisher's stream is opened anew for another.
    SessionStolen,

    // Membership: section 6.
    /// Dead is believed when it comes by anti-entropy, without a chance to refute.
    DeadMerged,
    /// A member refutes at the incarnation that it was accused at.
    RefutedInPlace,
    /// A statement older than what is held is news.
    OlderIsNews,
    /// A suspect has no time to refute.
    SuspectDies,
    /// Nobody is asked to probe in our place.
    NobodyAsked,
    /// Seeds are tried once.
    SeedsOnce,
    /// A member has left when anybody says so.
    LeftByOthers,
    /// An incarnation may be ahead by any number.
    AnyIncarnation,
    /// However many fall silent together, they are held dead.
    NoBrake,

    // Subscriptions: section 7, sentence 2.
    /// A change of a table is applied to whatever version is held.
    StaleTable,
    /// A whole table does not end the subscriptions that it lacks.
    TableOnlyGrows,
    /// A table is confirmed when it begins to come.
    TableAckedEarly,
    /// A topic keeps its route when subscriptions change.
    RouteKept,
    /// Publishers do not wait for the tables after joining.
    PublishedUnsynced,

    // Delivery, at the publisher: section 7.
    /// A datagram is freed when all nodes received it, acknowledged or not.
    FreedEarly,
    /// What used up its attempts is told as delivered.
    FailedIsDelivered,
    /// Time in our own queues counts as attempts.
    QueueCounts,
    /// One attempt more is made than was asked for.
    OneAttemptMore,
    /// A node that is back is not told what it is owed.
    BacklogUntold,
    /// What is parked is parked for ever.
    ParkedForEver,
    /// A full store gives up what live subscriptions need.
    LiveGivenUp,
    /// The receiver's credit is ignored.
    CreditIgnored,
    /// An acknowledgement's bitmap is read one place too far.
    BitmapShifted,
    /// Nobody is asked for the tail of what was sent.
    TailUnasked,
    /// A node's client is given up the moment that its node is back without it.
    NoGrace,

    // Delivery, at the subscriber: section 7.
    /// A message counts as acknowledged when it is handed over.
    AckedUnread,
    /// A datagram that overtook its definition counts as received.
    AckedUntaken,
    /// A message that comes again is not flagged.
    FlagLost,
    /// A hole is not told.
    HoleUntold,
    /// An ordered subscription takes messages as they come.
    OrderBroken,
    /// What a client had not acknowledged when it went is not fetched for its successor.
    UnackedForgotten,
    /// Parts of different messages of a publisher are laid together.
    PartsMixed,
    /// A publisher that restarted is taken for the one before.
    OldPublisher,
    /// What comes of a reliable channel ahead of a hole is handed up at once.
    ChannelSkips,
}

/// Whether the fault is to happen.
#[cfg(not(feature = "mutants"))]
#[inline(always)]
pub const fn mutant(_: Mutant) -> bool {
    false
}

/// Whether the fault is to happen.
///
/// # Panics
/// If the environment names one that does not exist.
#[cfg(feature = "mutants")]
pub fn mutant(which: Mutant) -> bool {
    static CHOSEN: std::sync::OnceLock<Option<Mutant>> = std::sync::OnceLock::new();
    *CHOSEN.get_or_init(chosen) == Some(which)
}

#[cfg(feature = "mutants")]
fn chosen() -> Option<Mutant> {
    let name = std::env::var("TIDINGS_MUTANT").ok()?;
    let found = Mutant::ALL
        .iter()
        .find(|mutant| format!("{mutant:?}") == name);
    Some(*found.unwrap_or_else(|| panic!("there is no mutant {name}")))
}
