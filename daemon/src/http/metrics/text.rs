//! The two text formats of metrics, which differ in little: OpenMetrics names a family of counters without `_total` and ends
//! with a mark. Written by hand, because the usual crate writes only one of them.

use std::fmt::Write;

use super::families::Kind;

/// Which format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus text, version 0.0.4.
    Prometheus,
    /// OpenMetrics, version 1.0.0.
    OpenMetrics,
}

/// A scrape that is being written.
pub struct Text {
    format: Format,
    text: String,
}

impl Text {
    /// An empty one.
    pub fn new(format: Format) -> Self {
        Self {
            format,
            text: String::new(),
        }
    }

    /// Begins a family. Its samples follow.
    pub fn family(&mut self, name: &str, kind: Kind, help: &str) {
        let (title, kind) = match kind {
            Kind::Counter if self.format == Format::OpenMetrics => {
                (name.strip_suffix("_total").unwrap_or(name), "counter")
            }
            Kind::Counter => (name, "counter"),
            Kind::Gauge => (name, "gauge"),
            Kind::Histogram => (name, "histogram"),
        };
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "# HELP {title} {help}\n# TYPE {title} {kind}");
    }

    /// A sample of the family that was begun last.
    pub fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        self.text.push_str(name);
        for (at, (label, text)) in labels.iter().enumerate() {
            let begin = if at == 0 { '{' } else { ',' };
            let escaped = text
                .replace('\\', "\\\\")
                .replace('"', "\\\"")
                .replace('\n', "\\n");
            let _ = write!(self.text, "{begin}{label}=\"{escaped}\"");
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        let _ = writeln!(self.text, " {value}");
    }

    /// A histogram of the family that was begun last: `(end, count)` of each bucket, ascending, then all and their sum.
    pub fn histogram(
        &mut self,
        name: &str,
        labels: &[(&str, &str)],
        buckets: impl Iterator<Item = (f64, u64)>,
        (count, sum): (u64, f64),
    ) {
        let bucket = format!("{name}_bucket");
        let below = buckets.map(|(end, below)| (end.to_string(), below));
        for (end, below) in below.chain([("+Inf".to_owned(), count)]) {
            let mut labels = labels.to_vec();
            labels.push(("le", &end));
            self.sample(&bucket, &labels, below as f64);
        }
        self.sample(&format!("{name}_sum"), labels, sum);
        self.sample(&format!("{name}_count"), labels, count as f64);
    }

    /// All of it.
    pub fn end(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(format: Format) -> String {
        let mut text = Text::new(format);
        text.family("t_x_total", Kind::Counter, "Back\\slash");
        text.sample("t_x_total", &[("overlay", "a\"b\\c\nd"), ("s", "")], 3.0);
        text.family("t_y", Kind::Gauge, "Why");
        text.sample("t_y", &[], 0.5);
        text.family("t_z", Kind::Histogram, "How old");
        let buckets = [(0.000_016_384, 1), (2.5, 3)];
        text.histogram("t_z", &[("o", "x")], buckets.into_iter(), (4, 9.25));
        text.end()
    }

    #[test]
    fn both_formats_are_as_their_readers_want_them() {
        let samples = "t_x_total{overlay=\"a\\\"b\\\\c\\nd\",s=\"\"} 3\n# HELP t_y Why\n# TYPE t_y gauge\nt_y 0.5\n\
            # HELP t_z How old\n# TYPE t_z histogram\n\
            t_z_bucket{o=\"x\",le=\"0.000016384\"} 1\nt_z_bucket{o=\"x\",le=\"2.5\"} 3\nt_z_bucket{o=\"x\",le=\"+Inf\"} 4\n\
            t_z_sum{o=\"x\"} 9.25\nt_z_count{o=\"x\"} 4\n";
        let head = |name: &str| format!("# HELP {name} Back\\\\slash\n# TYPE {name} counter\n");
        assert_eq!(
            written(Format::Prometheus),
            format!("{}{samples}", head("t_x_total"))
        );
        assert_eq!(
            written(Format::OpenMetrics),
            format!("{}{samples}# EOF\n", head("t_x"))
        );
    }
}
