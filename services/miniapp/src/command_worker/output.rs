//! What a command writes.

use std::collections::VecDeque;

use miniapp_types::limits::MAX_RESULT_BYTES;
use serde::Deserialize;
use serde_json::value::{RawValue, to_raw_value};
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _};

use super::attempt::Report;

/// Bytes of a line. The rest of a longer one is skipped.
const MAX_LINE: usize = 16 * 1024;
/// How many of the last lines of standard error become the message of a failure, and their
/// characters.
const MAX_LINES: usize = 20;
const MAX_MESSAGE: usize = 500;

/// Reads a result. Returns `None` if it is too large.
pub(super) async fn read_result(stdout: impl AsyncRead + Unpin) -> Option<Vec<u8>> {
    let limit = MAX_RESULT_BYTES as u64 + 1;
    let mut result = Vec::new();
    // A broken pipe ends the output like its regular end.
    let _ = stdout.take(limit).read_to_end(&mut result).await;
    (result.len() <= MAX_RESULT_BYTES).then_some(result)
}

/// Returns the output as JSON: as it is, or as a string without the last line break. No output is
/// null.
pub(super) fn to_result(output: &[u8]) -> Option<Box<RawValue>> {
    let text = String::from_utf8_lossy(output);
    let trimmed = text.trim();
    if trimmed.is_empty() {
        return Some(RawValue::NULL.to_owned());
    }
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let json: Result<Box<RawValue>, _> = serde_json::from_str(trimmed);
    let result = json.or_else(|_| to_raw_value(line)).ok()?;
    (result.get().len() <= MAX_RESULT_BYTES).then_some(result)
}

/// Calls `each` with the lines of a stream, without their ends.
pub(super) async fn read_lines(
    mut stream: impl AsyncBufRead + Unpin,
    mut each: impl FnMut(String),
) {
    let mut line = Vec::new();
    loop {
        let Ok(available) = stream.fill_buf().await else { return };
        if available.is_empty() {
            break;
        }
        let end = available.iter().position(|byte| *byte == b'\n');
        let part = &available[..end.unwrap_or(available.len())];
        line.extend_from_slice(&part[..part.len().min(MAX_LINE - line.len())]);
        let consumed = end.map_or(available.len(), |end| end + 1);
        stream.consume(consumed);
        if end.is_some() {
            each(String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned());
            line.clear();
        }
    }
    if !line.is_empty() {
        each(String::from_utf8_lossy(&line).into_owned());
    }
}

#[derive(Deserialize)]
struct ReportLine {
    progress: Option<f64>,
    message: Option<String>,
}

/// Reads a line such as `{"progress":0.5,"message":"halfway"}`.
pub(super) fn parse_report(line: &str) -> Option<Report> {
    let ReportLine { progress, message } = serde_json::from_str(line).ok()?;
    let progress = progress.map(|progress| progress.clamp(0.0, 1.0));
    (progress.is_some() || message.is_some()).then_some(Report { progress, message })
}

/// The last lines of a stream.
#[derive(Debug, Default)]
pub(super) struct LastLines(VecDeque<String>);

impl LastLines {
    pub fn push(&mut self, line: String) {
        if self.0.len() == MAX_LINES {
            self.0.pop_front();
        }
        self.0.push_back(line);
    }

    /// Returns the end of the text.
    pub fn text(&self) -> String {
        let text = self.0.iter().map(String::as_str).collect::<Vec<_>>().join("\n");
        let count = text.chars().count();
        text.chars().skip(count.saturating_sub(MAX_MESSAGE)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_json_or_text() {
        for (output, result) in [
            (&b""[..], "null"),
            (b" \n", "null"),
            (b"{\"a\": 1.50}\n", "{\"a\": 1.50}"),
            (b"\"text\"", "\"text\""),
            (b"hello\nworld\n", "\"hello\\nworld\""),
            (b"{\"a\":", "\"{\\\"a\\\":\""),
            (b"\xff", "\"\u{fffd}\""),
        ] {
            assert_eq!(to_result(output).expect("small").get(), result);
        }
        // Each byte takes six in JSON.
        assert!(to_result(&vec![1; MAX_RESULT_BYTES / 2]).is_none());
    }

    #[tokio::test]
    async fn large_output_is_not_kept() {
        let result = read_result(tokio::io::repeat(b'x').take(1 << 30)).await;
        assert!(result.is_none());
        let largest = read_result(tokio::io::repeat(b'x').take(MAX_RESULT_BYTES as u64)).await;
        assert_eq!(largest.expect("within the limit").len(), MAX_RESULT_BYTES);
    }

    #[tokio::test]
    async fn lines_are_bounded() {
        let text = format!("one\r\n\n{}\nlast", "x".repeat(MAX_LINE * 3));
        let mut lines = Vec::new();
        read_lines(text.as_bytes(), |line| lines.push(line)).await;
        let lengths: Vec<usize> = lines.iter().map(String::len).collect();
        assert_eq!(lengths, [3, 0, MAX_LINE, 4]);
    }

    #[test]
    fn reports_are_json_objects() {
        let report = parse_report(r#"{"progress":1.5,"message":"m","more":1}"#).expect("a report");
        assert_eq!((report.progress, report.message.as_deref()), (Some(1.0), Some("m")));
        for line in ["", "text", "{}", "[1]", "0.5", r#"{"progress":"half"}"#] {
            assert!(parse_report(line).is_none(), "{line}");
        }
    }

    #[test]
    fn last_lines_are_kept() {
        let mut lines = LastLines::default();
        for number in 0..100 {
            lines.push(format!("line {number}"));
        }
        assert!(lines.text().starts_with("line 80\n") && lines.text().ends_with("line 99"));
        lines.push("x".repeat(1000));
        assert_eq!(lines.text(), "x".repeat(MAX_MESSAGE));
    }
}
