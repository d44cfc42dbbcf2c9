//! What frames may be, from either side.

use super::*;

type Row = (&'static str, Vec<u8>, Cause, u16, Vec<u8>);

fn violations(side: Side) -> Vec<Row> {
    let f = |first, payload: &[u8]| frame(side, first, payload);
    let big = vec![b'x'; 301];
    let join = |parts: &[Vec<u8>]| parts.concat();
    vec![
        ("FR03", f(0xC1, b"x"), Cause::RsvSet, 1002, f(TEXT, b"x")),
        ("FR03", f(0xA1, b"x"), Cause::RsvSet, 1002, f(TEXT, b"x")),
        ("FR03", f(0x91, b"x"), Cause::RsvSet, 1002, f(TEXT, b"x")),
        ("FR03", f(0x83, b"x"), Cause::OpcodeReserved, 1002, f(0x82, b"x")),
        ("FR03", f(0x8B, b"x"), Cause::OpcodeReserved, 1002, f(PONG, b"x")),
        ("FR04", f(0x09, b"x"), Cause::ControlFragmented, 1002, f(PING, b"x")),
        ("FR04", f(PING, &[0; 126]), Cause::ControlTooLong, 1002, f(PING, &[0; 125])),
        ("FR08", f(TEXT, &big), Cause::MessageTooBig, 1009, f(TEXT, &big[1..])),
        (
            "FR08",
            join(&[f(FIRST, &big[..200]), f(LAST, &big[..101])]),
            Cause::MessageTooBig,
            1009,
            join(&[f(FIRST, &big[..200]), f(LAST, &big[..100])]),
        ),
        (
            "FR09",
            join(&[f(FIRST, b""), f(MORE, b""), f(MORE, b""), f(LAST, b"")]),
            Cause::TooManyFragments,
            1008,
            join(&[f(FIRST, b""), f(MORE, b""), f(LAST, b"")]),
        ),
        ("FR10", f(LAST, b"x"), Cause::ContinuationUnexpected, 1002, f(TEXT, b"x")),
        (
            "FR10",
            join(&[f(FIRST, b"x"), f(TEXT, b"x")]),
            Cause::MessageInterleaved,
            1002,
            join(&[f(FIRST, b"x"), f(LAST, b"x")]),
        ),
        ("FR14", f(CLOSE, &[3]), Cause::CloseInvalid, 1002, f(CLOSE, &[])),
        ("FR14", close(side, 1005), Cause::CloseInvalid, 1002, close(side, 1000)),
        ("FR14", f(CLOSE, &[3, 232, 0xFF]), Cause::CloseNotUtf8, 1007, f(CLOSE, &[3, 232, b'x'])),
        ("CO05", f(0xC9, b""), Cause::RsvSet, 1002, f(PING, b"")),
    ]
}

#[test]
fn a_violation_tells_each_side_its_code_and_its_twin_passes() {
    let mut ran = 0;
    for side in Side::BOTH {
        let mut rows = violations(side);
        let other = side.opposite();
        let masks = if side == Side::Client {
            ("FR01", frame(other, TEXT, b"x"), Cause::MaskMissing, 1002, frame(side, TEXT, b"x"))
        } else {
            ("FR02", frame(other, TEXT, b"x"), Cause::MaskUnexpected, 1002, frame(side, TEXT, b"x"))
        };
        rows.push(masks);
        // FR05, FR06 and FR07: nothing of the frame goes on, whatever length it declares.
        let mask = if side == Side::Client { 0x80 } else { 0 };
        for (id, length, cause, code) in [
            ("FR05", [0, 0, 0, 0, 0, 0, 0, 9], Cause::LengthNotMinimal, 1002),
            ("FR06", [0x80, 0, 0, 0, 0, 0, 0, 0], Cause::LengthInvalid, 1002),
            ("FR07", [0x10, 0, 0, 0, 0, 0, 0, 0], Cause::MessageTooBig, 1009),
            ("FR06", [0x7F, 255, 255, 255, 255, 255, 255, 255], Cause::MessageTooBig, 1009),
        ] {
            let head = [&[TEXT, mask | 127], &length[..], &KEY].concat();
            rows.push((id, head, cause, code, frame(side, TEXT, &[0; 9])));
        }
        for (id, wrong, cause, code, mended) in rows {
            let mut rig = Rig::new(rules());
            rig.feed(side, &wrong);
            assert_eq!(rig.cause(), Some((cause, side.into())), "{id} {side:?}");
            let other_code = if side == Side::Client { 1001 } else { 1011 };
            assert_eq!(rig.close_code(side), Some(code), "{id} {side:?}");
            assert_eq!(rig.close_code(other), Some(other_code), "{id} {side:?}");
            assert!(rig.session.write_ended(side) && !rig.session.write_ended(other), "{id}");

            let mut rig = Rig::new(rules());
            rig.feed(side, &mended);
            assert_eq!(rig.cause(), None, "{id} {side:?} mended");
            assert_eq!(*rig.out(other), mended, "{id} {side:?} mended");
            ran += 1;
        }
    }
    assert_eq!(ran, 42);
}

#[test]
fn an_extension_that_was_agreed_on_allows_rsv1_on_the_first_frame_of_a_message() {
    let compressed = frame(Side::Client, 0xC1, b"x");
    let cases = [
        ("CO01", Extensions::Strip, compressed.clone(), Some(Cause::RsvSet)),
        ("CO02", Extensions::Pass, compressed, None),
        ("CO05", Extensions::Pass, frame(Side::Client, 0xA1, b"x"), Some(Cause::RsvSet)),
        ("CO05", Extensions::Pass, frame(Side::Client, 0xC9, b"x"), Some(Cause::RsvSet)),
        (
            "CO05",
            Extensions::Pass,
            [frame(Side::Client, 0x41, b"x"), frame(Side::Client, 0xC0, b"x")].concat(),
            Some(Cause::RsvSet),
        ),
    ];
    for (id, extensions, script, cause) in cases {
        let mut rig = Rig::new(rules());
        rig.session = Session::new(Arc::new(rules()), extensions, None, rig.now, fixed);
        rig.feed(Side::Client, &script);
        assert_eq!(rig.cause().map(|(cause, _)| cause), cause, "{id}");
    }
}
