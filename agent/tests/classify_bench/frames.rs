//! Frames say what their packets say.

use crate::bpf::FRAME;
use crate::frame::plain;
use crate::witness::packet::whole;
use crate::witness::random::Random;

#[test]
fn classify_bench_frames_are_what_the_packet_says() {
    let addresses = ("10.1.2.3".parse().unwrap(), "172.16.10.99".parse().unwrap());
    let frame = plain(&whole(&mut Random::new(1), addresses, 17, (4000, 5060)));
    let expected = [
        // The sum of this header by RFC 1071, worked out by hand.
        0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0xb8, 0x5a, 10, 1, 2, 3, 172, 16, 10, 99, 0x0f, 0xa0, 0x13, 0xc4, 0, 8, 0, 0,
    ];
    assert_eq!(frame[12..14], [8, 0]);
    assert_eq!(frame[14..42], expected);
    assert_eq!(frame[42..], [0; FRAME - 42]);
}

#[test]
fn classify_bench_frames_have_room_for_tcp_over_ipv6() {
    let addresses = ("2001:db8::1".parse().unwrap(), "2001:db8::2".parse().unwrap());
    let frame = plain(&whole(&mut Random::new(1), addresses, 6, (1, 65535)));
    assert_eq!(frame[12..22], [0x86, 0xdd, 0x60, 0, 0, 0, 0, 20, 6, 64]);
    assert_eq!(frame[54..58], [0, 1, 0xff, 0xff]);
    assert_eq!(frame[66], 0x50);
}
