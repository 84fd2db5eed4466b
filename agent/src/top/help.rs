//! The help, as `?` shows it.

/// Below the title and above the last line of a terminal of 24 lines.
pub const HELP: &str = "
 q, F10, Ctrl-C   leave                   Ctrl-Z   to the shell, until fg
 1 2 3 4 5        classes, lanes, tunnels, tenants, rules; Tab the next one
 up, k  down, j   choose a row            PgUp PgDn  Home, g  End, G
 /, F4            filter names and states; Enter keeps it, Esc takes it back
 space            hold the picture still, and go on
 d, s             the delay between two looks, in seconds
 B P              order by bits, by packets, both ways together
 E F S            by errors, by what falls back, by the worst state
 N O              by name, as in the file
 < >              the order before, the next one      R, I  turn it round

 PKT, BIT   packets and bits per second into tunnels (OUT) and out of them
            (IN), of the inner packets from the network header on
 SHARE      of the bits of all rows of this view
 FALL       packets per second on another class's lane, or in clear
 ERR        packets per second that were blocked (classes, tenants), or
            replayed or not authentic (classes, lanes, tunnels)
 P99        what 99 of 100 packets timed in the last minute took to the wire
 STATE      \"to CLASS\" falls back there, BLOCKED drops; \"2 of 9 off\" in two
            of nine tunnels
 HISTORY    bits of each look, the highest of the row being full height
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn see_the_help_fits_the_smallest_usual_terminal() {
        assert!(
            HELP.lines().count() <= 22
                && HELP.starts_with("\n q,")
                && HELP.lines().all(|line| line.chars().count() <= 78)
        );
    }
}
