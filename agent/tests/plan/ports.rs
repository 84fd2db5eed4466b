//! Programs that tunnels go on without: those of ports follow the interfaces that they are for, those of sockets the file.

use lanekeeper::plan::{Desired, DeviceInUse, Extent, Observed, Op, Plan, diff};
use lanekeeper::policy::Classify;

use crate::machine::carry_out;
use crate::sketch::{Sketch, desired};

#[test]
fn ports_follow_their_interfaces() {
    let sketch = Sketch { tunnels: Vec::new(), tables: Some(1), mask: 0xff };
    let mut wanted = desired(&sketch);
    wanted.ports = [("lan0".to_owned(), Classify::Xdp), ("lan1".to_owned(), Classify::Tc)].into();
    let mut machine = Observed::default();
    let lan = |machine: &mut Observed, name: &str| machine.others.insert(name.to_owned(), DeviceInUse::default());
    let ports = |plan: &Plan| {
        plan.ops.iter().map(ToString::to_string).filter(|line| line.contains(" port ")).collect::<Vec<_>>()
    };
    let bring = |machine: &mut Observed, wanted: &Desired| {
        let plan = diff(wanted, machine).unwrap();
        plan.ops.iter().for_each(|op| carry_out(machine, op));
        assert!(diff(wanted, machine).unwrap().is_empty());
        plan
    };
    lan(&mut machine, "lan0");
    lan(&mut machine, "lan2");
    // The other one does not exist, which is nothing to wait for.
    let plan = bring(&mut machine, &wanted);
    assert_eq!(ports(&plan), ["+ port lan0 classify xdp"]);
    let at = |wanted: fn(&Op) -> bool| plan.ops.iter().position(wanted).unwrap();
    // Behind all that tunnels need: none waits for a port that cannot be had.
    assert!(at(|op| matches!(op, Op::LoadTables { .. })) < at(|op| matches!(op, Op::AttachPort { .. })));
    assert!(matches!(plan.ops.last(), Some(Op::AttachPort { .. })), "{plan:?}");
    lan(&mut machine, "lan1");
    assert_eq!(ports(&bring(&mut machine, &wanted)), ["+ port lan1 classify tc"]);
    // Half of it was taken away.
    machine.ports.insert("lan0".to_owned(), None);
    assert_eq!(ports(&bring(&mut machine, &wanted)), ["+ port lan0 classify xdp"]);
    wanted.ports = [("lan0".to_owned(), Classify::XdpGeneric)].into();
    assert_eq!(ports(&bring(&mut machine, &wanted)), ["- port lan1", "+ port lan0 classify xdp-generic"]);
    let plan = bring(&mut machine, &Desired::default());
    assert_eq!(ports(&plan), ["- port lan0"]);
    assert!(machine.ports.is_empty());
}

#[test]
fn programs_of_sockets_are_there_whole_or_not_at_all() {
    let mut wanted = desired(&Sketch { tunnels: Vec::new(), tables: Some(1), mask: 0xff });
    wanted.sockets = true;
    let mut machine = Observed::default();
    let bring = |machine: &mut Observed, wanted: &Desired| {
        let plan = diff(wanted, machine).unwrap();
        plan.ops.iter().for_each(|op| carry_out(machine, op));
        plan.ops.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(bring(&mut machine, &wanted), ["~ tables 0000000000000001", "+ programs of sockets"]);
    assert_eq!(bring(&mut machine, &wanted), [""; 0]);
    machine.sockets = Extent::Part;
    assert_eq!(bring(&mut machine, &wanted), ["+ programs of sockets"]);
    wanted.sockets = false;
    assert_eq!(bring(&mut machine, &wanted), ["- programs of sockets"]);
    machine.sockets = Extent::Part;
    assert_eq!(bring(&mut machine, &Desired::default()), ["- programs of sockets", "- tables, programs and pins"]);
}
