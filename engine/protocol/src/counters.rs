//! Sets of counters, declared once: field, exposition name and help text come from one list, so that a new counter is
//! shown wherever the others are.

/// Declares a struct of `u64` counters, with `each`, which names them all, and `add`. Its owner alone changes the counts.
#[macro_export]
macro_rules! counters {
    ($(#[$meta:meta])* $name:ident { $($field:ident: $help:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $name {
            $(#[doc = $help] pub $field: u64,)*
        }

        impl $name {
            /// Name, help text and value of each counter, in order of declaration.
            pub fn each(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> + use<> {
                [$((stringify!($field), $help, self.$field),)*].into_iter()
            }

            /// Adds what another of its kind counted.
            pub fn add(&mut self, other: &Self) {
                $(self.$field += other.$field;)*
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use crate::{PublishCounters, ReceiveCounters};

    #[test]
    fn every_counter_is_told_with_its_name_and_what_it_counts() {
        let mut publish = PublishCounters {
            beats: 2,
            ..PublishCounters::default()
        };
        let same = publish;
        publish.add(&same);
        assert!(
            publish
                .each()
                .any(|told| told == ("beats", "Heartbeats of streams", 4))
        );
        let mut told = publish.each().chain(ReceiveCounters::default().each());
        assert!(told.all(|(_, help, _)| !help.is_empty()));
    }
}
