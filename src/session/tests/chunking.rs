//! Whatever is sent, and in whatever pieces.

use proptest::prelude::*;

use super::*;

fn any_frame(side: Side) -> impl Strategy<Value = Vec<u8>> {
    let first = prop_oneof![
        8 => prop::sample::select(vec![TEXT, 0x82, FIRST, MORE, LAST]),
        4 => prop::sample::select(vec![PING, PONG]),
        1 => prop::sample::select(vec![CLOSE, 0xC1, 0x83, 0x09]),
    ];
    let payload = prop_oneof![
        8 => prop::collection::vec(any::<u8>(), 0..140),
        1 => Just(vec![0x5A; 8]),
        1 => Just(1000u16.to_be_bytes().to_vec()),
        1 => Just(vec![7; 310]),
    ];
    (first, payload).prop_map(move |(first, payload)| frame(side, first, &payload))
}

fn script(side: Side) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any_frame(side), 1..8).prop_map(|frames| frames.concat())
}

fn side() -> impl Strategy<Value = Side> {
    prop::sample::select(Side::BOTH.to_vec())
}

/// Frames that no rule stops: whole messages, fragments that fit together, and pings and pongs of the side's own.
fn plain(side: Side) -> impl Strategy<Value = Vec<u8>> {
    let payload = || prop::collection::vec(any::<u8>(), 0..100);
    let own = payload().prop_map(|mut payload| {
        payload.push(b'.');
        payload.truncate(if payload.len() == 8 { 7 } else { 100 });
        payload
    });
    let one = prop_oneof![
        payload().prop_map(move |payload| frame(side, TEXT, &payload)),
        payload().prop_map(move |payload| frame(side, 0x82, &payload)),
        own.prop_map(move |payload| [frame(side, PING, &payload), frame(side, PONG, &payload)].concat()),
        (payload(), payload()).prop_map(move |(first, last)| {
            [frame(side, FIRST, &first), frame(side, PING, b""), frame(side, LAST, &last)].concat()
        }),
    ];
    prop::collection::vec(one, 1..10).prop_map(|frames| frames.concat())
}

type Verdict = (Option<(Cause, By)>, Vec<u8>, Vec<u8>, Traffic);

fn over() -> impl Strategy<Value = Option<Overrun>> {
    prop::sample::select(vec![None, Some(Overrun::Slow), Some(Overrun::Close)])
}

/// Rates that a script runs into.
fn rated(over: Option<Overrun>) -> SessionRules {
    let mut rules = rules();
    let Some(over) = over else { return rules };
    for side in [&mut rules.from_client, &mut rules.from_backend] {
        side.messages = "2/s burst 3".parse().ok();
        side.control = "2/s burst 2".parse().ok();
        side.bytes = "400B/s burst 400B".parse().ok();
        side.over = over;
    }
    rules
}

fn verdict<'a>(from: Side, over: Option<Overrun>, chunks: impl Iterator<Item = &'a [u8]>) -> Verdict {
    let mut rig = Rig::new(rated(over));
    for chunk in chunks {
        rig.feed(from, chunk);
    }
    (rig.cause(), rig.to_client, rig.to_backend, rig.session.traffic(from))
}

proptest! {
    #[test]
    fn a_verdict_does_not_depend_on_chunking((from, bytes, size) in side()
        .prop_flat_map(|side| (Just(side), script(side), 1usize..20)), over in over())
    {
        let whole = verdict(from, over, std::iter::once(&bytes[..]));
        prop_assert_eq!(&whole, &verdict(from, over, bytes.chunks(size)), "FR22");
        prop_assert_eq!(&whole, &verdict(from, over, bytes.chunks(1)), "FR22");
        for cut in 0..bytes.len() {
            prop_assert_eq!(&whole, &verdict(from, over, [&bytes[..cut], &bytes[cut..]].into_iter()), "FR22 {}", cut);
        }
    }

    #[test]
    fn plain_frames_come_out_whole(client in plain(Side::Client), backend in plain(Side::Backend), size in 1usize..80) {
        let mut rig = Rig::new(rules());
        let (mut up, mut down) = (client.chunks(size), backend.chunks(size));
        loop {
            let pieces = [(Side::Client, up.next()), (Side::Backend, down.next())];
            if pieces.iter().all(|(_, piece)| piece.is_none()) {
                break;
            }
            for (side, piece) in pieces {
                rig.feed(side, piece.unwrap_or_default());
            }
        }
        prop_assert_eq!(rig.cause(), None, "FR21");
        prop_assert_eq!(&rig.to_backend, &client, "FR21");
        prop_assert_eq!(&rig.to_client, &backend, "FR21");
    }

    /// Whatever comes, nothing panics, frames of ours stand at boundaries, and all else is what came, in order.
    #[test]
    fn what_comes_out_is_what_went_in(ops in prop::collection::vec((side(), 0u8..12, 0usize..200), 1..60),
        client in script(Side::Client), backend in script(Side::Backend))
    {
        let mut rig = Rig::new(rules());
        let sent = |side| if side == Side::Client { client.repeat(3) } else { backend.repeat(3) };
        let mut at = [0, 0];
        for (side, op, size) in ops {
            let now = rig.now;
            match op {
                0 => rig.session.begin_close(Cause::Drain, now),
                1 => drop(rig.end(side, EndKind::Clean)),
                2 => drop(rig.end(side, EndKind::Abrupt)),
                3 => rig.session.handle_write_error(side, now),
                4 => rig.session.handle_blocked(side, now),
                5 => rig.session.handle_unblocked(side, now),
                6 | 7 => drop(rig.wait(Duration::from_millis(size as u64 * 150))),
                _ => {
                    let place = &mut at[usize::from(side == Side::Client)];
                    let all = sent(side);
                    let end = all.len().min(*place + size);
                    rig.feed(side, &all[*place..end]);
                    *place = end;
                }
            }
        }
        for side in Side::BOTH {
            let is_ping = |first| matches!(first, PING | PONG);
            let ours = |frame: &(u8, Vec<u8>)| is_ping(frame.0) && frame.1 == [0x5A; 8] || frame.0 == CLOSE;
            let out: Vec<_> = frames(rig.out(side)).into_iter().filter(|frame| !ours(frame)).collect();
            let came: Vec<_> = frames(&sent(side.opposite())).into_iter().filter(|frame| !ours(frame)).collect();
            for (index, frame) in out.iter().enumerate() {
                prop_assert_eq!(frame.0, came[index].0);
                let cut_off = index + 1 == out.len();
                prop_assert!(frame.1 == came[index].1 || cut_off && came[index].1.starts_with(&frame.1));
            }
        }
    }
}
