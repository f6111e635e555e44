//! The cost model: what one message costs by step, from criterion's times of the steps and the floor of the kernel's part,
//! beside what a real run of two nodes took. Whatever the steps miss is told as unaccounted.

pub mod criterion;
pub mod load;

use std::collections::BTreeMap;

use load::Load;

/// Time in ns for one unit of a step, by the step's name.
pub type Times = BTreeMap<String, f64>;

/// The kernel's part in ns of CPU a datagram, measured by the floor programs `pipe`, `raw` and `echo`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Kernel {
    /// Sending, delivery over loopback included.
    pub send_ns: f64,
    /// Receiving.
    pub recv_ns: f64,
    /// Both, for a small datagram in a call of its own.
    pub small_ns: f64,
    /// Falling asleep in epoll and being woken, for each sleep.
    pub sleep_ns: f64,
}

/// One line of the model.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The step, for people.
    pub step: &'static str,
    /// Where its time comes from.
    pub source: &'static str,
    /// ns a datagram.
    pub datagram_ns: f64,
    /// ns a message.
    pub message_ns: f64,
}

/// The steps of one size of message.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// In the order of a message's way.
    pub rows: Vec<Row>,
    /// What the run took for each message, in ns of CPU of both processes.
    pub measured_ns: f64,
}

impl Model {
    /// Puts the steps together for a run. An error names what was not measured.
    pub fn new(times: &Times, kernel: Kernel, load: &Load) -> Result<Self, String> {
        let n = load.messages_per_datagram;
        let of = |step: &str| {
            let name = format!("{step}_{}", load.size);
            let found = times.get(&name).or_else(|| times.get(step));
            found
                .copied()
                .ok_or_else(|| format!("criterion has no time for the step `{name}`"))
        };
        let (encode, seal) = (of("encode")?, of("seal")?);
        let (header, open, window, decode) = (
            of("header_check")?,
            of("open")?,
            of("window")?,
            of("decode")?,
        );
        // Of these only the rest is theirs: what they do within is told by itself.
        let publish = of("publish")? * n - encode - seal;
        let receive = of("receive")? - header - open - window - decode;
        let rows = [
            ("stamp a message", "criterion", of("stamp")? * n),
            ("encode", "criterion", encode),
            (
                "accept and store",
                "criterion, less encode and seal",
                publish,
            ),
            ("seal", "criterion", seal),
            ("plan", "criterion", of("flush")?),
            ("kernel: send and deliver", "floor pipe", kernel.send_ns),
            ("kernel: receive", "floor pipe", kernel.recv_ns),
            ("header check", "criterion", header),
            ("open", "criterion", open),
            ("replay window", "criterion", window),
            ("decode", "criterion", decode),
            (
                "streams and hand over",
                "criterion, less the four above",
                receive,
            ),
            ("tally a message", "criterion", of("tally")? * n),
            ("acknowledge and settle", "criterion", of("acknowledge")?),
            (
                "kernel: acknowledgements",
                "floor raw, each is answered",
                2.0 * load.acks_per_datagram * kernel.small_ns,
            ),
            (
                "kernel: sleeps",
                "floor echo, less its datagrams",
                load.sleeps_per_datagram * kernel.sleep_ns,
            ),
        ];
        let row = |(step, source, datagram_ns): (&'static str, &'static str, f64)| Row {
            step,
            source,
            datagram_ns,
            message_ns: datagram_ns / n,
        };
        Ok(Self {
            rows: rows.into_iter().map(row).collect(),
            measured_ns: load.cpu_ns,
        })
    }

    /// All steps of one message, in ns.
    pub fn sum_ns(&self) -> f64 {
        self.rows.iter().map(|row| row.message_ns).sum()
    }

    /// What the steps miss (above 0) or count too much (below), as a part of what was measured.
    pub fn unaccounted(&self) -> f64 {
        1.0 - self.sum_ns() / self.measured_ns
    }

    /// A table: each step with its share of what was measured.
    pub fn text(&self) -> String {
        let mut text = format!(
            "  {:<26} {:>12} {:>11} {:>7}  {}\n",
            "step", "ns a datagram", "ns a message", "share", "from"
        );
        let share = |ns: f64| ns / self.measured_ns * 100.0;
        for row in &self.rows {
            text += &format!(
                "  {:<26} {:>13.1} {:>12.2} {:>5.1} %  {}\n",
                row.step,
                row.datagram_ns,
                row.message_ns,
                share(row.message_ns),
                row.source
            );
        }
        let rest = self.measured_ns - self.sum_ns();
        for (name, ns) in [
            ("sum", self.sum_ns()),
            ("unaccounted", rest),
            ("measured", self.measured_ns),
        ] {
            text += &format!("  {name:<26} {:>13} {ns:>12.2} {:>5.1} %\n", "", share(ns));
        }
        text.truncate(text.trim_end().len());
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times() -> Times {
        let all = [
            ("stamp", 1.0),
            ("encode_64", 40.0),
            ("seal_64", 200.0),
            ("publish_64", 30.0),
            ("flush_64", 5.0),
            ("header_check", 3.0),
            ("open_64", 210.0),
            ("window", 7.0),
            ("decode_64", 20.0),
            ("receive_64", 400.0),
            ("tally", 2.0),
            ("acknowledge_64", 10.0),
        ];
        all.map(|(name, ns)| (name.to_owned(), ns)).into()
    }

    fn load(cpu_ns: f64) -> Load {
        Load {
            size: 64,
            cpu_ns,
            rate: 1e6,
            messages_per_datagram: 10.0,
            datagrams_per_send: 100.0,
            acks_per_datagram: 0.01,
            sleeps_per_datagram: 0.001,
            cpu_by_side: Vec::new(),
        }
    }

    const KERNEL: Kernel = Kernel {
        send_ns: 100.0,
        recv_ns: 55.0,
        small_ns: 500.0,
        sleep_ns: 10_000.0,
    };

    #[test]
    fn the_sum_is_that_of_the_outer_steps_whatever_is_within() {
        // A datagram: 10 x (1 + 30 + 2) + 5 + 155 + 400 + 10 + 10 + 10.
        let model = Model::new(&times(), KERNEL, &load(100.0)).expect("nothing is missing");
        assert!((model.sum_ns() - 92.0).abs() < 1e-9);
        assert!((model.unaccounted() - 0.08).abs() < 1e-9);
        let rest = |step| {
            model
                .rows
                .iter()
                .find(|row| row.step == step)
                .map(|row| row.datagram_ns)
        };
        assert_eq!(rest("accept and store"), Some(60.0));
        assert_eq!(rest("streams and hand over"), Some(160.0));
        assert!(model.text().contains("unaccounted"), "{}", model.text());
    }

    #[test]
    fn a_sum_above_the_measured_is_off_too() {
        let model = Model::new(&times(), KERNEL, &load(80.0)).expect("nothing is missing");
        assert!((model.unaccounted() + 0.15).abs() < 1e-9);
    }

    #[test]
    fn a_step_that_was_not_measured_is_named() {
        let mut times = times();
        times.remove("open_64");
        let error = Model::new(&times, KERNEL, &load(100.0)).expect_err("a step is missing");
        assert!(error.contains("`open_64`"), "{error}");
    }
}
