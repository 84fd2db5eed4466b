//! The two that decide: the classifier on the host, and the program that a tunnel's device runs.

use crate::compile::Tables;
use crate::kernel::dataplane::{Error, Trial};
use crate::lane::LaneId;
use crate::model::{Model, Probe, Verdict};

/// Bytes of a packet that are looked at. A test run takes no more than a page; all that is read are headers.
const LIMIT: usize = 2048;

/// Decides for one packet after the other; later fragments remember their first.
pub trait Engine {
    /// What becomes of a packet that leaves by that tunnel's device.
    fn decide(&mut self, tunnel: &str, probe: &Probe<'_>) -> Result<Verdict, Error>;
}

impl Engine for Model<'_> {
    fn decide(&mut self, tunnel: &str, probe: &Probe<'_>) -> Result<Verdict, Error> {
        Ok(self.evaluate(tunnel, &cut(probe)))
    }
}

/// The program itself, over maps of its own: touches nothing that runs.
#[derive(Debug)]
pub struct Kernel<'a> {
    trial: Trial,
    /// For what a test run refuses.
    model: Model<'a>,
}

impl<'a> Kernel<'a> {
    /// Loads it with these tables and these lanes up.
    pub fn new(tables: &'a Tables, up: &[LaneId]) -> Result<Self, Error> {
        let mut trial = Trial::new()?;
        trial.load(tables)?;
        for lane in up {
            trial.set_up(lane, true)?;
        }
        Ok(Self { trial, model: Model::with_up(tables, up) })
    }
}

impl Engine for Kernel<'_> {
    fn decide(&mut self, tunnel: &str, probe: &Probe<'_>) -> Result<Verdict, Error> {
        if is_refused(probe.frame) {
            return self.model.decide(tunnel, probe);
        }
        self.trial.set_tunnel(tunnel)?;
        self.trial.run(&cut(probe))
    }
}

/// Frames too short for the header that their EtherType names; kernels since 6.18 run nothing over them, older ones
/// nothing over a bare Ethernet header. Such a packet takes the default class, says the parser, which is one and the same.
fn is_refused(frame: &[u8]) -> bool {
    let shortest = match frame.get(12..14) {
        Some([0x08, 0x00]) => 14 + 20,
        Some([0x86, 0xdd]) => 14 + 40,
        Some(_) | None => 14 + 1,
    };
    frame.len() < shortest
}

fn cut<'a>(probe: &Probe<'a>) -> Probe<'a> {
    Probe { frame: &probe.frame[..probe.frame.len().min(LIMIT)], ..*probe }
}
