//! Log lines: for people on a terminal, JSON elsewhere, each with its trace.

use std::cell::RefCell;
use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::sync::OnceLock;

use jiff::fmt::temporal::DateTimePrinter;
use opentelemetry::trace::TraceContextExt as _;
use serde_json::{Map, Value};
use tracing::dispatcher::WeakDispatch;
use tracing::field::{Field, Visit};
use tracing::{Dispatch, Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::{LookupSpan, SpanRef};

use crate::trace::CorrelationIds;
use miniapp_runtime::clock::{Clock as _, SystemClock};

/// How lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    Text { has_colors: bool },
    Json,
}

/// Writes each event as one line. The spans around it are known by their trace alone:
/// nothing is formatted for a span until it is asked for.
pub(super) struct LogLayer<W> {
    style: Style,
    writer: W,
    /// What this layer is a part of: the trace of a span is known elsewhere in it.
    whole: OnceLock<WeakDispatch>,
}

impl<W> LogLayer<W> {
    pub(super) fn new(style: Style, writer: W) -> Self {
        Self { style, writer, whole: OnceLock::new() }
    }

    /// The nearest span that has a trace, else what the work was caused by.
    fn ids<S: Subscriber + for<'a> LookupSpan<'a>>(&self, context: &Context<'_, S>) -> Option<Ids> {
        self.span(context).or_else(|| {
            let CorrelationIds { trace, span } = CorrelationIds::current()?;
            Some(Ids { trace: trace.to_string(), span: span.to_string() })
        })
    }

    /// The nearest span that has a trace. What is logged and what is traced are chosen
    /// apart: the current span may be unknown to either side.
    fn span<S: Subscriber + for<'a> LookupSpan<'a>>(
        &self,
        context: &Context<'_, S>,
    ) -> Option<Ids> {
        let whole = self.whole.get()?.upgrade()?;
        let logged = context.lookup_current();
        let logged = logged.iter().flat_map(SpanRef::scope).map(|span| span.id());
        let found = whole
            .current_span()
            .id()
            .cloned()
            .into_iter()
            .chain(logged)
            .find_map(|id| tracing_opentelemetry::get_otel_context(&id, &whole))?;
        let span = found.span();
        let span = span.span_context();
        span.is_valid()
            .then(|| Ids { trace: span.trace_id().to_string(), span: span.span_id().to_string() })
    }
}

impl<S, W> Layer<S> for LogLayer<W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + 'static,
{
    fn on_register_dispatch(&self, whole: &Dispatch) {
        // A layer belongs to one subscriber, and is told so once.
        let _ = self.whole.set(whole.downgrade());
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        thread_local! {
            static LINE: RefCell<String> = const { RefCell::new(String::new()) };
        }
        let ids = self.ids(&context);
        LINE.with(|line| {
            // A value whose Debug logs in turn finds the line in use, and gets its own.
            let mut own = String::new();
            let mut borrowed = line.try_borrow_mut();
            let line = borrowed.as_deref_mut().unwrap_or(&mut own);
            line.clear();
            match self.style {
                Style::Json => write_json(line, event, ids.as_ref()),
                Style::Text { has_colors } => write_text(line, event, ids.as_ref(), has_colors),
            }
            line.push('\n');
            // Where the log can't be written there is nobody left to tell.
            let _ = self.writer.make_writer_for(event.metadata()).write_all(line.as_bytes());
        });
    }
}

struct Ids {
    trace: String,
    span: String,
}

fn write_now(line: &mut String) {
    // Always with six digits, so that lines sort as texts.
    const PRINTER: DateTimePrinter = DateTimePrinter::new().precision(Some(6));
    let _ = PRINTER.print_timestamp(&SystemClock.now(), line);
}

fn write_json(line: &mut String, event: &Event<'_>, ids: Option<&Ids>) {
    let metadata = event.metadata();
    line.push_str("{\"timestamp\":\"");
    write_now(line);
    let _ = write!(line, "\",\"level\":\"{}\"", metadata.level());
    let _ = write!(line, ",\"target\":{}", Value::from(metadata.target()));
    if let Some(ids) = ids {
        let _ = write!(line, ",\"trace_id\":\"{}\",\"span_id\":\"{}\"", ids.trace, ids.span);
    }
    let mut fields = JsonFields::default();
    event.record(&mut fields);
    for (name, value) in &fields.0 {
        let _ = write!(line, ",{}:{value}", Value::from(name.as_str()));
    }
    line.push('}');
}

#[derive(Default)]
struct JsonFields(Map<String, Value>);

impl JsonFields {
    fn add(&mut self, field: &Field, value: impl Into<Value>) {
        // What an event calls itself must not hide what we say about it.
        let name = match field.name() {
            taken @ ("timestamp" | "level" | "target" | "trace_id" | "span_id") => {
                format!("{taken}_")
            }
            name => name.to_owned(),
        };
        self.0.insert(name, value.into());
    }
}

impl Visit for JsonFields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, format!("{value:?}"));
    }
}

fn write_text(line: &mut String, event: &Event<'_>, ids: Option<&Ids>, has_colors: bool) {
    let metadata = event.metadata();
    let (dim, reset) = if has_colors { ("\x1b[2m", "\x1b[0m") } else { ("", "") };
    let color = match *metadata.level() {
        _ if !has_colors => "",
        Level::ERROR => "\x1b[31m",
        Level::WARN => "\x1b[33m",
        Level::INFO => "\x1b[32m",
        _ => "\x1b[34m",
    };
    line.push_str(dim);
    write_now(line);
    let _ = write!(line, "{reset} {color}{:>5}{reset} ", metadata.level());
    let _ = write!(line, "{dim}{}:{reset}", metadata.target());
    let mut fields = TextFields { message: String::new(), others: String::new() };
    event.record(&mut fields);
    line.push(' ');
    line.push_str(&fields.message);
    if let Some(ids) = ids {
        let _ = write!(fields.others, " trace_id={}", ids.trace);
    }
    let _ = write!(line, "{dim}{}{reset}", fields.others);
}

struct TextFields {
    message: String,
    others: String,
}

impl TextFields {
    fn add(&mut self, field: &Field, value: &str) {
        // A line stays a line, and what comes from outside can't steer the terminal.
        let value = value.chars().flat_map(|c| {
            let escaped = c.is_control().then(|| c.escape_default());
            let plain = escaped.is_none().then_some(c);
            escaped.into_iter().flatten().chain(plain)
        });
        if field.name() == "message" {
            self.message.extend(value);
        } else {
            let _ = write!(self.others, " {}=", field.name());
            self.others.extend(value);
        }
    }
}

impl Visit for TextFields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, &format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use opentelemetry::trace::TracerProvider as _;
    use opentelemetry_sdk::trace::SdkTracerProvider;
    use parking_lot::Mutex;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(style: Style, log: impl FnOnce()) -> String {
        let written = Written::default();
        let writer = written.clone();
        let tracer = SdkTracerProvider::builder().build().tracer("test");
        let subscriber = tracing_subscriber::registry()
            .with(LogLayer::new(style, move || writer.clone()))
            .with(tracing_opentelemetry::layer().with_tracer(tracer));
        tracing::subscriber::with_default(subscriber, log);
        let bytes = written.0.lock().clone();
        String::from_utf8(bytes).expect("UTF-8")
    }

    #[test]
    fn json_lines_hold_values_as_they_are_and_the_trace() {
        let line = logged(Style::Json, || {
            let span = tracing::info_span!("request");
            let _entered = span.enter();
            tracing::info!(status = 200, ok = true, level = "mine", error = ?"a\n\"b", "hello");
        });
        let value: Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(value["level"], "INFO");
        assert_eq!(value["level_"], "mine");
        assert_eq!(value["message"], "hello");
        assert_eq!(value["status"], 200);
        assert_eq!(value["ok"], true);
        assert_eq!(value["trace_id"].as_str().map(str::len), Some(32));
        assert_eq!(value["span_id"].as_str().map(str::len), Some(16));
        assert!(value["timestamp"].as_str().is_some_and(|at| at.len() == 27), "{line}");
        assert_eq!(line.lines().count(), 1);
    }

    #[test]
    fn text_lines_are_for_people_and_cant_be_forged() {
        let line = logged(Style::Text { has_colors: false }, || {
            tracing::warn!(path = "/a\n\x1b[2Jb", "odd");
        });
        assert!(
            line.contains(" WARN miniapp_telemetry::log::tests: odd path=/a\\n\\u{1b}[2Jb"),
            "{line}"
        );
        assert_eq!(line.lines().count(), 1);
        let line = logged(Style::Text { has_colors: true }, || tracing::error!("bad"));
        assert!(line.contains("\x1b[31mERROR\x1b[0m"), "{line}");
    }
}
