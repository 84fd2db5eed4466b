use proptest::prelude::*;

use super::*;

/// The example of strongSwan's README.md of the protocol, "Encoding example".
const DOCUMENTED: &[u8] = &[
    3, 4, b'k', b'e', b'y', b'1', 0, 6, b'v', b'a', b'l', b'u', b'e', b'1', //
    1, 8, b's', b'e', b'c', b't', b'i', b'o', b'n', b'1', //
    1, 11, b's', b'u', b'b', b'-', b's', b'e', b'c', b't', b'i', b'o', b'n', //
    3, 4, b'k', b'e', b'y', b'2', 0, 6, b'v', b'a', b'l', b'u', b'e', b'2', //
    2,    //
    4, 5, b'l', b'i', b's', b't', b'1', //
    5, 0, 5, b'i', b't', b'e', b'm', b'1', //
    5, 0, 5, b'i', b't', b'e', b'm', b'2', //
    6,    //
    2,
];

fn documented() -> Message {
    Message::new().with("key1", "value1").with_section(
        "section1",
        Message::new()
            .with_section("sub-section", Message::new().with("key2", "value2"))
            .with_list("list1", ["item1", "item2"]),
    )
}

#[test]
fn documented_example_encodes_to_its_bytes() {
    assert_eq!(documented().encode().unwrap().as_slice(), DOCUMENTED);
}

#[test]
fn documented_example_decodes_from_its_bytes() {
    assert_eq!(Message::decode(DOCUMENTED).unwrap(), documented());
}

#[test]
fn no_bytes_are_the_empty_message() {
    assert_eq!(Message::decode(&[]).unwrap(), Message::new());
    assert!(Message::new().encode().unwrap().is_empty());
}

#[test]
fn every_truncation_is_an_error_or_a_shorter_message() {
    for len in 0..DOCUMENTED.len() {
        // Whole only at the end of an element of the root: before the first and before `section1`.
        assert_eq!(Message::decode(&DOCUMENTED[..len]).is_ok(), len == 0 || len == 14, "first {len} bytes");
    }
}

#[test]
fn lying_lengths_are_errors_that_say_where() {
    let value = Message::decode(&[3, 1, b'k', 0xff, 0xff, b'v']);
    assert_eq!(value, Err(DecodeError::Truncated { what: "value", at: 5, wanted: 65534 }));
    let name = Message::decode(&[1, 200, b'k']);
    assert_eq!(name, Err(DecodeError::Truncated { what: "name", at: 2, wanted: 199 }));
}

#[test]
fn misplaced_elements_are_errors() {
    let cases: [(&[u8], DecodeError); 6] = [
        (&[2], DecodeError::Misplaced { kind: SECTION_END, at: 0 }),
        (&[5, 0, 0], DecodeError::Misplaced { kind: LIST_ITEM, at: 0 }),
        (&[6], DecodeError::Misplaced { kind: LIST_END, at: 0 }),
        (&[4, 1, b'l', 4, 1, b'l'], DecodeError::Misplaced { kind: LIST_START, at: 3 }),
        (&[4, 1, b'l'], DecodeError::Unclosed),
        (&[9], DecodeError::UnknownElement { kind: 9, at: 0 }),
    ];
    for (bytes, error) in cases {
        assert_eq!(Message::decode(bytes), Err(error), "{bytes:?}");
    }
}

#[test]
fn deep_nesting_is_refused_both_ways() {
    let bytes = [1u8, 0].repeat(100_000);
    assert_eq!(Message::decode(&bytes), Err(DecodeError::TooDeep { at: 2 * MAX_DEPTH }));
    let deep = (0..=MAX_DEPTH).fold(Message::new(), |inner, _| Message::new().with_section("s", inner));
    assert_eq!(deep.encode(), Err(EncodeError::TooDeep));
}

#[test]
fn what_the_lengths_cannot_hold_is_not_encoded() {
    assert_eq!(Message::new().with(&"k".repeat(256), "").encode(), Err(EncodeError::LongName(256)));
    let long = Message::new().with("k", vec![0; 65536]);
    assert_eq!(long.encode(), Err(EncodeError::LongValue { name: "k".to_owned(), len: 65536 }));
    let many = (0..9).fold(Message::new(), |all, _| all.with("k", vec![0; 65535]));
    assert!(matches!(many.encode(), Err(EncodeError::LongPacket(_))));
}

#[test]
fn secrets_do_not_show_in_debug() {
    let message = Message::new().with("type", "IKE").with_secret("data", b"hunter2");
    let shown = format!("{message:?}");
    assert!(!shown.contains("hunter2") && shown.contains("7 secret bytes") && shown.contains("IKE"), "{shown}");
    assert!(message.encode().unwrap().ends_with(b"hunter2"));
}

#[test]
fn a_foreign_name_that_is_not_utf8_does_not_hide_the_rest() {
    let message = Message::decode(&[3, 2, 0xff, b'k', 0, 1, b'v', 3, 1, b'a', 0, 1, b'b']).unwrap();
    assert_eq!(message.text("a"), Some("b"));
}

fn leaf() -> impl Strategy<Value = Blob> {
    prop::collection::vec(any::<u8>(), 0..40).prop_map(Blob::public)
}

fn message() -> impl Strategy<Value = Message> {
    let value = prop_oneof![leaf().prop_map(Value::Leaf), prop::collection::vec(leaf(), 0..5).prop_map(Value::List),];
    let elements = |value| prop::collection::vec(("[ -~]{0,20}", value), 0..6);
    let flat = elements(value.boxed()).prop_map(|elements| Message { elements });
    flat.prop_recursive(5, 60, 4, move |inner| {
        let value = prop_oneof![
            leaf().prop_map(Value::Leaf),
            prop::collection::vec(leaf(), 0..5).prop_map(Value::List),
            inner.prop_map(Value::Section),
        ];
        elements(value.boxed()).prop_map(|elements| Message { elements })
    })
}

proptest! {
    #[test]
    fn decoding_undoes_encoding(message in message()) {
        let bytes = message.encode().unwrap();
        prop_assert_eq!(bytes.capacity(), bytes.len(), "one allocation of the right size");
        prop_assert_eq!(Message::decode(&bytes).unwrap(), message);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = Message::decode(&bytes);
    }

    /// Mostly valid element types and short lengths reach deeper than uniform bytes do.
    #[test]
    fn bytes_near_the_grammar_never_panic(bytes in prop::collection::vec(0u8..8, 0..400)) {
        if let Ok(message) = Message::decode(&bytes) {
            prop_assert_eq!(Message::decode(&message.encode().unwrap()).unwrap(), message);
        }
    }

    #[test]
    fn damaged_messages_never_panic(message in message(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = message.encode().unwrap().to_vec();
        if !bytes.is_empty() {
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let _ = Message::decode(&bytes);
        }
    }
}
