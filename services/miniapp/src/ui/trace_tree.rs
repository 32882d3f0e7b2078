//! Draws a trace for a terminal.

use std::fmt::{self, Display, Write as _};
use std::time::{Duration, SystemTime};

use miniapp_runtime::terminal::escape;
use miniapp_telemetry::trace::{CompletedSpan, SpanId, Trace};

use super::Text;

/// A trace as a tree of spans, each with its duration and a bar that shows when it ran. Services
/// are shown if there are several.
#[derive(Debug)]
pub struct TraceTree<'a> {
    trace: &'a Trace,
    width: usize,
    colored: bool,
}

/// Between a label, the duration and the bar.
const DURATION: usize = 9;
const GAPS: usize = 3;
const FAILED: &str = " failed";
/// A bar that is shorter shows nothing.
const SHORTEST_BAR: usize = 8;

/// What a terminal takes for the colours of bars, of failures, and for the end of each.
const CYAN: &str = "\u{1b}[36m";
const RED: &str = "\u{1b}[31m";
const PLAIN: &str = "\u{1b}[0m";

impl<'a> TraceTree<'a> {
    /// Draws `trace` in lines of about `width` characters.
    pub fn new(trace: &'a Trace, width: usize) -> Self {
        Self { trace, width: width.clamp(60, 160), colored: false }
    }

    /// Colours the bars, those of failed spans apart, or not.
    #[must_use]
    pub fn colored(self, colored: bool) -> Self {
        Self { colored, ..self }
    }

    /// Returns the lines for a terminal.
    pub fn to_text(&self) -> Text {
        // Names are escaped where they are drawn.
        Text::trusted(self.to_string().trim_end().to_owned())
    }
}

struct Line<'a> {
    label: String,
    span: &'a CompletedSpan,
}

impl Display for TraceTree<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let spans = &self.trace.spans;
        let (Some(start), Some(end)) = (
            spans.iter().map(CompletedSpan::start).min(),
            spans.iter().map(CompletedSpan::end).max(),
        ) else {
            return Ok(());
        };
        let mut lines = Vec::with_capacity(spans.len());
        let known = |id: SpanId| spans.iter().any(|span| span.id() == id);
        for root in in_order(spans, |span| !known(span.parent_id())) {
            lines.push(Line { label: escape(root.name()).into_owned(), span: root });
            self.descend(root, "", &mut lines);
        }
        let label_width = lines.iter().map(|line| line.label.chars().count()).max().unwrap_or(0);
        let label_width = label_width.min(self.width / 2);
        let services = services_width(spans);
        let mark_width = if spans.iter().any(CompletedSpan::has_failed) { FAILED.len() } else { 0 };
        let taken = label_width + services + DURATION + GAPS + mark_width;
        let bar_width = self.width.saturating_sub(taken).max(SHORTEST_BAR);
        for line in &lines {
            let label = shortened(&line.label, label_width);
            let took =
                duration(line.span.end().duration_since(line.span.start()).unwrap_or_default());
            let bar = bar(start, end, line.span, bar_width);
            let (color, mark) = if line.span.has_failed() { (RED, FAILED) } else { (CYAN, "") };
            let (color, plain) = if self.colored { (color, PLAIN) } else { ("", "") };
            write!(f, "{label:label_width$} ")?;
            if services > 0 {
                write!(f, "{:services$}", escape(line.span.service()))?;
            }
            writeln!(f, "{took:>DURATION$}  {color}{bar}{mark}{plain}")?;
        }
        if self.trace.dropped > 0 {
            writeln!(f, "and {} more spans", self.trace.dropped)?;
        }
        Ok(())
    }
}

impl TraceTree<'_> {
    fn descend<'a>(&'a self, parent: &CompletedSpan, indent: &str, lines: &mut Vec<Line<'a>>) {
        let children = in_order(&self.trace.spans, |span| span.parent_id() == parent.id());
        let last = children.len().saturating_sub(1);
        for (position, child) in children.into_iter().enumerate() {
            let (branch, below) =
                if position == last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
            let name = escape(child.name());
            lines.push(Line { label: format!("{indent}{branch}{name}"), span: child });
            self.descend(child, &format!("{indent}{below}"), lines);
        }
    }
}

/// The room for the names of services; none where there is one alone.
fn services_width(spans: &[CompletedSpan]) -> usize {
    let Some(first) = spans.first() else { return 0 };
    if spans.iter().all(|span| span.service() == first.service()) {
        return 0;
    }
    spans.iter().map(|span| escape(span.service()).chars().count() + 1).max().unwrap_or(0)
}

fn in_order(
    spans: &[CompletedSpan],
    belongs: impl Fn(&CompletedSpan) -> bool,
) -> Vec<&CompletedSpan> {
    let mut chosen: Vec<&CompletedSpan> = spans.iter().filter(|span| belongs(span)).collect();
    chosen.sort_by_key(|span| (span.start(), std::cmp::Reverse(span.end())));
    chosen
}

fn shortened(label: &str, width: usize) -> String {
    if label.chars().count() <= width {
        return label.to_owned();
    }
    let mut short: String = label.chars().take(width - 1).collect();
    short.push('…');
    short
}

fn duration(took: Duration) -> String {
    let microseconds = took.as_micros();
    let mut text = String::new();
    // Writing to a String can't fail.
    let _ = match microseconds {
        0..1_000 => write!(text, "{microseconds} µs"),
        1_000..1_000_000 => {
            write!(text, "{}.{} ms", microseconds / 1000, microseconds % 1000 / 100)
        }
        _ => write!(text, "{}.{:02} s", took.as_secs(), took.subsec_millis() / 10),
    };
    text
}

fn bar(start: SystemTime, end: SystemTime, span: &CompletedSpan, width: usize) -> String {
    let nanoseconds =
        |from: SystemTime, to: SystemTime| to.duration_since(from).unwrap_or_default().as_nanos();
    let whole = nanoseconds(start, end).max(1);
    let column = |at: SystemTime| {
        let column = nanoseconds(start, at) * width as u128 / whole;
        usize::try_from(column).unwrap_or(width).min(width)
    };
    let from = column(span.start()).min(width - 1);
    // What is too short to be drawn is drawn as one character.
    let to = column(span.end()).max(from + 1);
    format!("{}{}", " ".repeat(from), "━".repeat(to - from))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// The resource of one span, which runs between two times in microseconds.
    fn span(service: &str, id: u64, parent: u64, name: &str, from: u64, to: u64) -> Value {
        let span = json!({
            "traceId": format!("{:032x}", 7),
            "spanId": format!("{id:016x}"),
            "parentSpanId": format!("{parent:016x}"),
            "name": name,
            "startTimeUnixNano": (from * 1000).to_string(),
            "endTimeUnixNano": (to * 1000).to_string(),
        });
        let service = json!({ "key": "service.name", "value": { "stringValue": service } });
        json!({ "resource": { "attributes": [service] }, "scopeSpans": [{ "spans": [span] }] })
    }

    fn trace(spans: impl Into<Vec<Value>>) -> Trace {
        Trace::from_json(&json!({ "resourceSpans": spans.into() }))
    }

    #[test]
    fn tree_shows_causes_and_times() {
        let mut failed = span("api", 4, 3, "attempt", 5_500, 9_000);
        failed["scopeSpans"][0]["spans"][0]["status"] = json!({ "code": 2 });
        let trace = trace([
            span("api", 2, 1, "insert", 1_000, 2_500),
            span("api", 1, 99, "POST /api/tasks", 0, 3_000),
            failed,
            span("api", 3, 1, "wait in queue", 3_000, 10_000),
        ]);
        let drawn = TraceTree::new(&trace, 60).to_string();
        let expected = "\
POST /api/tasks     3.0 ms  ━━━━━━━
├─ insert           1.5 ms    ━━━━
└─ wait in queue    7.0 ms         ━━━━━━━━━━━━━━━━━━
   └─ attempt       3.5 ms               ━━━━━━━━━ failed
";
        assert_eq!(drawn, expected);
        let colored = TraceTree::new(&trace, 60).colored(true).to_string();
        let failed = colored.lines().last().expect("four lines");
        assert!(
            failed.contains("  \u{1b}[31m ") && failed.ends_with("━ failed\u{1b}[0m"),
            "{failed:?}"
        );
    }

    #[test]
    fn services_are_distinguished() {
        let trace = trace([
            span("api", 1, 0, "POST /api/tasks", 0, 3_000),
            span("worker", 2, 1, "process tasks:run", 2_000, 10_000),
        ]);
        let expected = "\
POST /api/tasks      api       3.0 ms  ━━━━━━
└─ process tasks:run worker    8.0 ms      ━━━━━━━━━━━━━━━━━
";
        assert_eq!(TraceTree::new(&trace, 60).to_string(), expected);
    }

    #[test]
    fn unusual_traces_are_drawn() {
        assert_eq!(TraceTree::new(&Trace::default(), 60).to_string(), "");
        let long = "x".repeat(200);
        let trace = Trace { dropped: 7, ..trace([span("api", 1, 0, &long, 5, 5)]) };
        let drawn = TraceTree::new(&trace, 0).to_string();
        assert!(
            drawn.contains('…') && drawn.contains("0 µs") && drawn.contains("7 more"),
            "{drawn}"
        );
    }

    #[test]
    fn durations_are_short() {
        let shown = |microseconds| duration(Duration::from_micros(microseconds));
        assert_eq!(shown(12), "12 µs");
        assert_eq!(shown(1_250), "1.2 ms");
        assert_eq!(shown(1_000_000), "1.00 s");
        assert_eq!(shown(15_049_000), "15.04 s");
    }
}
