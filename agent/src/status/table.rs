//! A [`Status`] for human eyes.

use std::fmt::Write;

use super::Status;

/// Sections in the order of an operator's questions: does it run, are the tunnels up, what goes where it should not.
pub(super) fn render(status: &Status, now: u64) -> String {
    let mut out = String::new();
    let line = &mut out;
    let _ = writeln!(line, "lanekeeper {}  {}  generation {}", status.version, status.config, status.generation);
    match &status.reload.error {
        None => {
            let _ = writeln!(line, "file applied {} ago", age(now, status.reload.at));
        }
        Some(error) => {
            let _ = writeln!(line, "file REFUSED {} ago, what ran before still runs:", age(now, status.reload.at));
            for reason in error.lines() {
                let _ = writeln!(line, "  {reason}");
            }
        }
    }
    if let Some(left) = status.confirm_within {
        let _ = writeln!(line, "goes back in {} unless `lanekeeper confirm` comes", span(left));
    }
    for tunnel in &status.tunnels {
        let state = word(tunnel.up, tunnel.on_demand);
        let _ = writeln!(
            line,
            "\ntunnel {}  {state}  {} -> {}  {}  {}",
            tunnel.name, tunnel.local, tunnel.remote, tunnel.device, tunnel.keying
        );
        for reason in tunnel.trouble.iter().flat_map(|trouble| trouble.lines()) {
            let _ = writeln!(line, "  {reason}");
        }
        let rows = tunnel.lanes.iter().map(|lane| {
            [
                format!("{}.{}", lane.class, lane.lane),
                word(lane.up, lane.on_demand).to_owned(),
                if lane.since == 0 { "-".into() } else { age(now, lane.since) },
                format!("{:#x}", lane.mark),
                format!("{:#x}", lane.reqid),
            ]
        });
        columns(line, ["lane", "state", "since", "mark", "reqid"], rows.collect());
    }
    line.push('\n');
    let rows = status.classes.iter().map(|class| {
        let outer = class.outer_dscp.map_or("-".into(), |dscp| dscp.to_string());
        [class.name.clone(), class.lanes.to_string(), class.fallback.clone(), outer]
    });
    columns(line, ["class", "lanes", "fallback", "outer dscp"], rows.collect());
    if !status.detours.is_empty() {
        line.push('\n');
        let rows = status.detours.iter().map(|d| [d.tunnel.clone(), d.class.clone(), d.to.clone(), d.reason.clone()]);
        columns(line, ["falls back", "class", "to", "why"], rows.collect());
    }
    out
}

fn word(up: bool, on_demand: bool) -> &'static str {
    match (up, on_demand) {
        (true, false) => "up",
        (true, true) => "on demand",
        (false, _) => "DOWN",
    }
}

/// Left-aligned columns as wide as their widest cell, indented by two.
fn columns<const N: usize>(out: &mut String, head: [&str; N], rows: Vec<[String; N]>) {
    let width: [usize; N] =
        std::array::from_fn(|i| rows.iter().map(|row| row[i].len()).chain([head[i].len()]).max().unwrap_or(0));
    for row in std::iter::once(head.map(str::to_owned)).chain(rows) {
        let cells: Vec<String> = row.iter().zip(width).map(|(cell, width)| format!("{cell:width$}")).collect();
        let _ = writeln!(out, "  {}", cells.join("  ").trim_end());
    }
}

fn age(now: u64, at: u64) -> String {
    span(now.saturating_sub(at))
}

/// The two largest units: `45s`, `3m 20s`, `2h 5m`, `9d 4h`.
pub(crate) fn span(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    match () {
        () if days > 0 => format!("{days}d {}h", hours % 24),
        () if hours > 0 => format!("{hours}h {}m", minutes % 60),
        () if minutes > 0 => format!("{minutes}m {}s", seconds % 60),
        () => format!("{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::policy;
    use super::super::{Reload, Standing, Status};
    use super::*;
    use crate::lane::Condition;

    fn sample() -> Status {
        Status {
            version: "0.1.0".into(),
            config: "/etc/lanekeeper/config.toml".into(),
            generation: 3,
            reload: Reload { success: true, at: 400, error: None },
            ..Status::of(&policy(), |id| Standing {
                condition: if id.class == "voice" { Condition::Down } else { Condition::Up },
                since: 900,
            })
        }
    }

    #[test]
    fn the_whole_picture() {
        let expected = "\
lanekeeper 0.1.0  /etc/lanekeeper/config.toml  generation 3
file applied 10m 0s ago

tunnel branch-7  up  192.0.2.1 -> 192.0.2.2  lk-branch7  static
  lane       state  since   mark  reqid
  voice.0    DOWN   1m 40s  0x1   0x4c4b0001
  bulk.0     up     1m 40s  0x2   0x4c4b0002
  bulk.1     up     1m 40s  0x3   0x4c4b0003
  default.0  up     1m 40s  0x4   0x4c4b0004

  class    lanes  fallback  outer dscp
  voice    1      default   -
  bulk     2      block     -
  default  1      block     -

  falls back  class  to       why
  branch-7    voice  default  its lane is down
";
        assert_eq!(sample().table(1_000), expected);
    }

    #[test]
    fn a_lane_that_waits_for_a_packet_says_so() {
        let status = Status::of(&policy(), |_| Standing { condition: Condition::OnDemand, since: 900 });
        let text = status.table(1_000);
        assert!(text.contains("tunnel branch-7  on demand  192.0.2.1"), "{text}");
        assert!(text.contains("\n  voice.0    on demand  1m 40s  0x1   0x4c4b0001\n"), "{text}");
        assert!(!text.contains("DOWN") && !text.contains("falls back"), "{text}");
    }

    #[test]
    fn a_refused_file_says_why_and_a_pending_one_says_until_when() {
        let mut status = sample();
        status.reload.error = Some("a.toml:1:2: no\na.toml:3:4: no".into());
        status.confirm_within = Some(299);
        let text = status.table(1_000);
        assert!(text.contains("REFUSED 10m 0s ago"), "{text}");
        assert!(text.contains("\n  a.toml:3:4: no\n"), "{text}");
        assert!(text.contains("goes back in 4m 59s unless `lanekeeper confirm` comes"), "{text}");
    }

    #[test]
    fn what_went_wrong_stands_under_its_tunnel() {
        let mut status = sample();
        status.tunnels[0].trouble = Some("initiating voice.0: the peer does not answer".into());
        let text = status.table(1_000);
        assert!(text.contains("static\n  initiating voice.0: the peer does not answer\n  lane "), "{text}");
    }

    #[test]
    fn it_fits_a_terminal_of_80_columns() {
        assert!(sample().table(100_000_000).lines().all(|line| line.len() <= 80));
    }

    #[test]
    fn spans_say_their_two_largest_units() {
        for (seconds, text) in
            [(0, "0s"), (59, "59s"), (60, "1m 0s"), (3_599, "59m 59s"), (7_500, "2h 5m"), (791_999, "9d 3h")]
        {
            assert_eq!(span(seconds), text);
        }
    }
}
