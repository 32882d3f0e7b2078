//! Log lines: text on a terminal, JSON elsewhere, each with its trace.

use std::fmt::{self, Write as _};
use std::sync::{Arc, OnceLock};

use jiff::fmt::temporal::DateTimePrinter;
use opentelemetry::trace::{SpanId, TraceContextExt as _, TraceId};
use serde_json::{Map, Value};
use tracing::dispatcher::WeakDispatch;
use tracing::field::{Field, Visit};
use tracing::{Dispatch, Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::registry::{LookupSpan, SpanRef};

use crate::trace::CorrelationIds;
use miniapp_runtime::clock::{Clock as _, SystemClock};
use miniapp_runtime::terminal::{escape, escape_json};

/// The format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    Text { has_colors: bool },
    Json,
}

/// Creates the layer that writes each event as one line.
pub(super) fn layer<S, W>(style: Style, writer: W) -> impl Layer<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let dispatch = Arc::new(OnceLock::new());
    let format = LineFormat { style, dispatch: dispatch.clone() };
    tracing_subscriber::fmt::layer()
        .fmt_fields(NoFields)
        .event_format(format)
        .with_writer(writer)
        .and_then(DispatchLayer(dispatch))
}

/// Formats an event with the ids of its trace and span.
struct LineFormat {
    style: Style,
    dispatch: Arc<OnceLock<WeakDispatch>>,
}

impl<S, N> FormatEvent<S, N> for LineFormat
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut line: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let ids = self.ids(context);
        match self.style {
            Style::Json => write_json(&mut line, event, ids)?,
            Style::Text { has_colors } => write_text(&mut line, event, ids, has_colors)?,
        }
        writeln!(line)
    }
}

impl LineFormat {
    /// Returns the ids of the nearest span that has a trace, or else those that the work was
    /// correlated with. The log filter may hide the current span from this layer, so it is
    /// looked up in the whole subscriber.
    fn ids<S, N>(&self, context: &FmtContext<'_, S, N>) -> Option<(TraceId, SpanId)>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
        N: for<'a> FormatFields<'a> + 'static,
    {
        let of_span = || {
            let dispatch = self.dispatch.get()?.upgrade()?;
            let visible = context.lookup_current();
            let visible = visible.iter().flat_map(SpanRef::scope).map(|span| span.id());
            let current = dispatch.current_span().id().cloned();
            let found = current
                .into_iter()
                .chain(visible)
                .find_map(|id| tracing_opentelemetry::get_otel_context(&id, &dispatch))?;
            let span = found.span().span_context().clone();
            span.is_valid().then(|| (span.trace_id(), span.span_id()))
        };
        let correlated = || CorrelationIds::current().map(|ids| (ids.trace, ids.span));
        of_span().or_else(correlated)
    }
}

/// Lines don't show the fields of spans, so they are not formatted either.
struct NoFields;

impl FormatFields<'_> for NoFields {
    fn format_fields<R: RecordFields>(&self, _: Writer<'_>, _: R) -> fmt::Result {
        Ok(())
    }
}

/// Stores a reference to the subscriber that the layer belongs to.
struct DispatchLayer(Arc<OnceLock<WeakDispatch>>);

impl<S: Subscriber> Layer<S> for DispatchLayer {
    fn on_register_dispatch(&self, dispatch: &Dispatch) {
        // A layer belongs to one subscriber.
        let _ = self.0.set(dispatch.downgrade());
    }
}

fn write_now(line: &mut Writer<'_>) -> fmt::Result {
    // Always six digits, so that lines sort as text.
    const PRINTER: DateTimePrinter = DateTimePrinter::new().precision(Some(6));
    let mut now = String::with_capacity(32);
    PRINTER.print_timestamp(&SystemClock.now(), &mut now).map_err(|_| fmt::Error)?;
    line.write_str(&now)
}

fn write_json(
    line: &mut Writer<'_>,
    event: &Event<'_>,
    ids: Option<(TraceId, SpanId)>,
) -> fmt::Result {
    let metadata = event.metadata();
    line.write_str("{\"timestamp\":\"")?;
    write_now(line)?;
    write!(line, "\",\"level\":\"{}\"", metadata.level())?;
    write!(line, ",\"target\":{}", Value::from(metadata.target()))?;
    if let Some((trace, span)) = ids {
        write!(line, ",\"trace_id\":\"{trace}\",\"span_id\":\"{span}\"")?;
    }
    let mut fields = JsonFields::default();
    event.record(&mut fields);
    for (name, value) in &fields.0 {
        // The lines may be read on a terminal.
        let value = value.to_string();
        write!(line, ",{}:{}", Value::from(name.as_str()), escape_json(&value))?;
    }
    line.write_char('}')
}

#[derive(Default)]
struct JsonFields(Map<String, Value>);

impl JsonFields {
    fn add(&mut self, field: &Field, value: impl Into<Value>) {
        // A field of the event must not replace one of the line.
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

fn write_text(
    line: &mut Writer<'_>,
    event: &Event<'_>,
    ids: Option<(TraceId, SpanId)>,
    has_colors: bool,
) -> fmt::Result {
    let metadata = event.metadata();
    let (dim, reset) = if has_colors { ("\x1b[2m", "\x1b[0m") } else { ("", "") };
    let color = match *metadata.level() {
        _ if !has_colors => "",
        Level::ERROR => "\x1b[31m",
        Level::WARN => "\x1b[33m",
        Level::INFO => "\x1b[32m",
        _ => "\x1b[34m",
    };
    line.write_str(dim)?;
    write_now(line)?;
    write!(line, "{reset} {color}{:>5}{reset} ", metadata.level())?;
    write!(line, "{dim}{}:{reset}", metadata.target())?;
    let mut fields = TextFields { message: String::new(), others: String::new() };
    event.record(&mut fields);
    if let Some((trace, _)) = ids {
        write!(fields.others, " trace_id={trace}")?;
    }
    write!(line, " {}{dim}{}{reset}", fields.message, fields.others)
}

struct TextFields {
    message: String,
    others: String,
}

impl TextFields {
    fn add(&mut self, field: &Field, value: &str) {
        // Values from outside can neither start a new line nor control the terminal.
        let value = escape(value);
        if field.name() == "message" {
            self.message += &value;
        } else {
            let _ = write!(self.others, " {}={value}", field.name());
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
            .with(layer(style, move || writer.clone()))
            .with(tracing_opentelemetry::layer().with_tracer(tracer));
        tracing::subscriber::with_default(subscriber, log);
        let bytes = written.0.lock().clone();
        String::from_utf8(bytes).expect("UTF-8")
    }

    #[test]
    fn json_line_has_typed_values_and_trace() {
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
    fn lines_have_no_characters_that_control_a_terminal() {
        let text = "\u{1b}]2;T\u{7}\u{9b}1m\r\n\u{202e}\u{200b}\u{2060}\u{7f}";
        for style in [Style::Text { has_colors: false }, Style::Json] {
            let line = logged(style, || {
                tracing::warn!(text, debug = ?text, display = %text, "{text}");
            });
            let line = line.strip_suffix('\n').expect("a line");
            assert!(!line.chars().any(miniapp_runtime::terminal::is_unsafe), "{line:?}");
            if style == Style::Json {
                let value: Value = serde_json::from_str(line).expect("JSON");
                assert_eq!((&value["text"], &value["message"]), (&text.into(), &text.into()));
            }
        }
    }

    #[test]
    fn text_line_escapes_control_characters() {
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
