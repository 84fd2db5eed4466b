//! What the demo shows: the live table of classes and lanes, and one SA beside lanes.

use std::fmt::Write;

use crate::lab::congestion::Outcome;
use crate::lab::gateways::LanePackets;

const BAR: usize = 22;

/// A reading of both gateways' lanes, for the table.
#[derive(Debug, Clone, Default)]
pub struct Reading {
    /// Seconds since the traffic began.
    pub seconds: f64,
    /// Received from the other end, by class and lane: at B what A sent.
    pub a_to_b: Vec<(&'static str, u8, u64)>,
    /// At A what B sent.
    pub b_to_a: Vec<(&'static str, u8, u64)>,
}

impl Reading {
    /// Takes what came in at each end.
    pub fn new(seconds: f64, at_a: &LanePackets, at_b: &LanePackets) -> Self {
        let inbound = |packets: &LanePackets| {
            packets.iter().filter(|((_, _, out), _)| !out).map(|((class, lane, _), n)| (*class, *lane, *n)).collect()
        };
        Self { seconds, a_to_b: inbound(at_b), b_to_a: inbound(at_a) }
    }
}

/// The table of this moment: packets in all, and as a bar what came since the reading before.
pub fn table(lanes: &[(&'static str, u8)], now: &Reading, before: &Reading, colour: bool) -> String {
    let find = |side: &[(&'static str, u8, u64)], lane: (&str, u8)| {
        side.iter().find(|(class, index, _)| (*class, *index) == lane).map_or(0, |(_, _, packets)| *packets)
    };
    let time = (now.seconds - before.seconds).max(0.001);
    let rate = |now: &[(&'static str, u8, u64)], before: &[(&'static str, u8, u64)], lane: (&str, u8)| {
        find(now, lane).saturating_sub(find(before, lane)) as f64 / time
    };
    let rates = lanes
        .iter()
        .flat_map(|lane| [rate(&now.a_to_b, &before.a_to_b, *lane), rate(&now.b_to_a, &before.b_to_a, *lane)]);
    let most = rates.fold(1.0, f64::max);
    let mut text = String::new();
    let _ = writeln!(text, "  class    lane   {:<38} B to A", "A to B");
    let mut last = "";
    for lane in lanes {
        let class = if lane.0 == last { "" } else { lane.0 };
        last = lane.0;
        let mut row = format!("  {class:<8} {:>4}   ", lane.1);
        for (total, rate) in [
            (find(&now.a_to_b, *lane), rate(&now.a_to_b, &before.a_to_b, *lane)),
            (find(&now.b_to_a, *lane), rate(&now.b_to_a, &before.b_to_a, *lane)),
        ] {
            let _ = write!(row, "{} {total:>6} {rate:>5.0}/s  ", bar(rate / most, paint(lane.0, colour), colour));
        }
        let _ = writeln!(text, "{}", row.trim_end());
    }
    text
}

/// Eighths of a block.
fn bar(share: f64, colour: &str, coloured: bool) -> String {
    let eighths = (share.clamp(0.0, 1.0) * (BAR * 8) as f64).round() as usize;
    let mut bar = "█".repeat(eighths / 8);
    if let Some(rest) = [None, Some('▏'), Some('▎'), Some('▍'), Some('▌'), Some('▋'), Some('▊'), Some('▉')][eighths % 8]
    {
        bar.push(rest);
    }
    let padding = " ".repeat(BAR - bar.chars().count());
    if coloured { format!("{colour}{bar}\x1b[0m{padding}") } else { format!("{bar}{padding}") }
}

fn paint(class: &str, colour: bool) -> &'static str {
    match class {
        _ if !colour => "",
        "voice" => "\x1b[32m",
        "video" => "\x1b[36m",
        "bulk" => "\x1b[33m",
        _ => "\x1b[37m",
    }
}

/// One SA beside lanes.
pub fn side_by_side(one: &Outcome, lanes: &Outcome) -> String {
    let mut text = String::new();
    let mut row = |what: &str, left: String, right: String| {
        let _ = writeln!(text, "  {what:<46} {left:>10} {right:>10}");
    };
    row("", "one SA".into(), "lanes".into());
    row("voice packets sent", one.voice.sent.to_string(), lanes.voice.sent.to_string());
    row("  reached the far host", one.voice.received.to_string(), lanes.voice.received.to_string());
    row("bulk packets sent", one.bulk.sent.to_string(), lanes.bulk.sent.to_string());
    row("  found the WAN's queue full", one.queue.dropped.to_string(), lanes.queue.dropped.to_string());
    row("  reached the far gateway", one.bulk_arrived().to_string(), lanes.bulk_arrived().to_string());
    row("  reached the far host", one.bulk.received.to_string(), lanes.bulk.received.to_string());
    row("XfrmInStateSeqError", one.sequence_errors.to_string(), lanes.sequence_errors.to_string());
    let percent = |outcome: &Outcome| format!("{:.1} %", outcome.bulk_loss_percent());
    row("bulk lost behind the WAN", percent(one), percent(lanes));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_has_a_row_for_each_lane_and_rates_since_the_last_reading() {
        let lanes = [("voice", 0), ("bulk", 0), ("bulk", 1)];
        let before = Reading { seconds: 1.0, a_to_b: vec![("bulk", 1, 100)], b_to_a: vec![] };
        let now = Reading { seconds: 3.0, a_to_b: vec![("bulk", 1, 300)], b_to_a: vec![("voice", 0, 50)] };
        let text = table(&lanes, &now, &before, false);
        let rows: Vec<&str> = text.lines().collect();
        assert_eq!(rows.len(), 4);
        assert!(rows[1].contains("voice") && rows[1].ends_with("50    25/s"), "{text}");
        assert!(rows[3].contains("300   100/s") && !rows[3].contains("bulk"), "{text}");
    }
}
