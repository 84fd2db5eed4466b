//! Whatever fails or is taken away, nothing of a tunnel's traffic is seen in clear on the WAN, and all is right again soon.

mod bench;
mod faults;
mod liar;
mod steps;
