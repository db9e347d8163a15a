//! A page of metric families in text, for scrapers: OpenMetrics 1.0, or Prometheus's own format 0.0.4.
//!
//! They differ in a few words: OpenMetrics names a counter's family without `_total` and ends with `# EOF`; the older
//! format knows neither `info` nor `unknown`. Samples are the same in both.
//! Invariant: a family's samples stand together under one TYPE. The text is written by hand: prometheus-client has no
//! summaries, and its registry wants to own numbers that live in `observe` already.

use std::fmt::{Display, Write};

/// The two forms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    OpenMetrics,
    #[default]
    Text,
}

impl Format {
    /// What a scraper asks for: OpenMetrics only if it says so.
    pub fn accepted(accept: &str) -> Self {
        if accept.contains("application/openmetrics-text") { Format::OpenMetrics } else { Format::Text }
    }

    pub fn content_type(self) -> &'static str {
        match self {
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Format::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// The page while it is written.
#[derive(Default)]
pub struct Page {
    format: Format,
    text: String,
}

impl Page {
    pub fn new(format: Format) -> Self {
        Self { format, text: String::new() }
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "{line}");
    }

    /// Begins a family. `kind` is a word of OpenMetrics; `name` is without the suffix of its samples.
    pub fn family(&mut self, name: &str, kind: &str, help: &str) {
        let (suffix, kind) = match (self.format, kind) {
            (Format::Text, "counter") => ("_total", kind),
            (Format::Text, "info") => ("_info", "gauge"),
            (Format::Text, "unknown") => ("", "untyped"),
            _ => ("", kind),
        };
        self.line(format_args!("# TYPE {name}{suffix} {kind}"));
        self.line(format_args!("# HELP {name}{suffix} {help}"));
    }

    pub fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.text.push_str(name);
        for (i, (label, text)) in labels.iter().enumerate() {
            let _ = write!(self.text, "{}{label}=\"{}\"", if i == 0 { '{' } else { ',' }, escaped(text));
        }
        let end = if labels.is_empty() { "" } else { "}" };
        self.line(format_args!("{end} {value}"));
    }

    pub fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, "gauge", help);
        self.sample(name, &[], value);
    }

    /// `name` without the `_total` that its sample has.
    pub fn counter(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, "counter", help);
        self.sample(&format!("{name}_total"), &[], value);
    }

    /// Counts at or below each bound, all of them and their sum.
    pub fn histogram(&mut self, name: &str, labels: &[(&str, &str)], buckets: &[(f64, u64)], count: u64, sum: f64) {
        let bucket = format!("{name}_bucket");
        for (bound, below) in buckets {
            // Bounds are written as numbers with a point: 1.0.
            let le = format!("{bound:?}");
            self.sample(&bucket, &[labels, &[("le", le.as_str())]].concat(), below);
        }
        self.sample(&bucket, &[labels, &[("le", "+Inf")]].concat(), count);
        self.sample(&format!("{name}_count"), labels, count);
        self.sample(&format!("{name}_sum"), labels, sum);
    }

    pub fn end(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.line(format_args!("# EOF"));
        }
        self.text
    }
}

fn escaped(label: &str) -> String {
    label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_cannot_break_a_line() {
        let mut page = Page::default();
        page.sample("x", &[("err", "a\"b\\c\nd"), ("cmd", "get")], 1.5);
        assert_eq!(page.end(), "x{err=\"a\\\"b\\\\c\\nd\",cmd=\"get\"} 1.5\n");
    }

    #[test]
    fn the_two_forms_name_families_in_their_own_way() {
        let in_form = |format| {
            let mut page = Page::new(format);
            page.counter("c", "Help.", 1);
            page.family("i", "info", "Help.");
            page.family("u_total", "unknown", "Help.");
            page.end()
        };
        let open = "# TYPE c counter\n# HELP c Help.\nc_total 1\n# TYPE i info\n# HELP i Help.\n# TYPE u_total unknown\n# HELP u_total Help.\n# EOF\n";
        let text = "# TYPE c_total counter\n# HELP c_total Help.\nc_total 1\n# TYPE i_info gauge\n# HELP i_info Help.\n# TYPE u_total untyped\n# HELP u_total Help.\n";
        assert_eq!((in_form(Format::OpenMetrics).as_str(), in_form(Format::Text).as_str()), (open, text));
    }

    #[test]
    fn openmetrics_is_answered_to_those_who_ask_for_it() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1";
        assert_eq!(Format::accepted(prometheus), Format::OpenMetrics);
        assert_eq!((Format::accepted("*/*"), Format::accepted("")), (Format::Text, Format::Text));
    }
}
