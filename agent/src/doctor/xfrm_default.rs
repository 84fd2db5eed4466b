//! What becomes of packets that no XFRM policy matches (`ip xfrm policy getdefault`).

use super::Finding;

/// Whether each direction blocks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Default {
    /// For us.
    pub input: bool,
    /// Through us.
    pub forward: bool,
    /// From us, and what is forwarded, once more.
    pub output: bool,
}

/// A blocking default drops what is in clear on the LAN, before it comes to the tunnel or after it came from it.
pub fn findings(default: &Default) -> Vec<Finding> {
    let each = [
        (default.input, "in", "this host takes no packet that is not of a tunnel, the peer's IKE excepted"),
        (default.forward, "fwd", "what the LAN sends is dropped before it comes to a tunnel"),
        (default.output, "out", "what comes out of a tunnel is dropped on its way to the LAN"),
    ];
    let blocking = each.into_iter().filter(|(blocks, _, _)| *blocks);
    blocking
        .map(|(_, direction, effect)| {
            let problem = format!("the XFRM policy default of {direction} is block: {effect}");
            Finding::run("xfrm-default", problem, format!("ip xfrm policy setdefault {direction} accept"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::said;
    use super::*;

    #[test]
    fn each_direction_that_blocks_is_said_with_what_it_stops() {
        let said = said(&findings(&Default { forward: true, output: true, input: false }));
        assert_eq!(
            said,
            [
                "the XFRM policy default of fwd is block: what the LAN sends is dropped before it comes to a tunnel -> ip xfrm \
                 policy setdefault fwd accept",
                "the XFRM policy default of out is block: what comes out of a tunnel is dropped on its way to the LAN -> ip xfrm \
                 policy setdefault out accept",
            ]
        );
        let input = findings(&Default { input: true, ..Default::default() });
        assert!(input[0].problem.contains("of in is block") && input.len() == 1, "{input:?}");
    }
}
