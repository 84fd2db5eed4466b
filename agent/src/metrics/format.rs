//! The two texts that scrapers read, and which of them one asks for.

/// A text format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Prometheus's own, 0.0.4, which everything reads.
    Prometheus,
    /// OpenMetrics 1.0.0, which Prometheus asks for first.
    OpenMetrics,
}

impl Format {
    /// As an answer says it.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// What a caller wants by its Accept (RFC 9110, 12.5.1): OpenMetrics where it is named and wanted more than the other.
    /// Whoever wants neither gets what everything reads.
    pub fn of(accept: &str) -> Self {
        let (mut prometheus, mut open) = (0, 0);
        for range in accept.split(',') {
            let mut parts = range.split(';').map(|part| part.trim().to_ascii_lowercase());
            let media = parts.next().unwrap_or_default();
            let (mut quality, mut version) = (Some(1000), None);
            for part in parts {
                match part.split_once('=') {
                    Some(("q", value)) => quality = thousandths(value),
                    Some(("version", value)) => version = Some(value.trim_matches('"').to_owned()),
                    Some(_) | None => {}
                }
            }
            let is = |wanted: &str| version.as_deref().is_none_or(|version| version == wanted);
            // What cannot be read is not wanted.
            let quality = quality.unwrap_or(0);
            match media.as_str() {
                "application/openmetrics-text" if is("1.0.0") => open = open.max(quality),
                "text/plain" | "text/*" | "*/*" if is("0.0.4") => prometheus = prometheus.max(quality),
                _ => {}
            }
        }
        if open > prometheus { Self::OpenMetrics } else { Self::Prometheus }
    }
}

/// `0.25` is 250; three digits at most.
fn thousandths(text: &str) -> Option<u32> {
    let quality: f64 = text.trim().parse().ok()?;
    (0.0..=1.0).contains(&quality).then(|| (quality * 1000.0).round() as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prometheus_gets_openmetrics_and_everybody_else_what_everything_reads() {
        let of_2 = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                    text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        let of_3 = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                    application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
                    text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        let cases = [
            (of_2, Format::OpenMetrics),
            (of_3, Format::OpenMetrics),
            ("Application/OpenMetrics-Text; Version=\"1.0.0\"; Q=1", Format::OpenMetrics),
            ("application/openmetrics-text", Format::OpenMetrics),
            ("text/plain;q=0.2, application/openmetrics-text;q=0.201", Format::OpenMetrics),
            ("", Format::Prometheus),
            ("*/*", Format::Prometheus),
            ("text/html,application/xhtml+xml,*/*;q=0.8", Format::Prometheus),
            ("application/openmetrics-text;q=0.5,text/plain;q=0.5", Format::Prometheus),
            ("application/openmetrics-text;q=0.5,text/*", Format::Prometheus),
            ("application/openmetrics-text;version=0.0.1", Format::Prometheus),
            ("application/openmetrics-text;version=2.0.0,*/*;q=0.1", Format::Prometheus),
            ("application/openmetrics-text;q=0", Format::Prometheus),
            ("application/openmetrics-text;q=7", Format::Prometheus),
            ("application/openmetrics-text;q=much", Format::Prometheus),
            ("application/json", Format::Prometheus),
            (";;=,;q", Format::Prometheus),
        ];
        for (accept, format) in cases {
            assert_eq!(Format::of(accept), format, "{accept}");
        }
    }
}
