//! Sessions that are ended from outside.

use super::*;

#[tokio::test(start_paused = true)]
async fn whoever_asks_learns_that_a_session_is_ending_whatever_for() {
    type End = fn(&Control);
    let asked: [(&str, End); 4] = [
        ("nothing", |_| ()),
        ("a drain", |control| assert!(control.end(Cause::Drain))),
        ("a revocation", |control| assert!(control.end(Cause::Revoked))),
        ("a cut", Control::cut),
    ];
    for (name, end) in asked {
        let control = Control::new();
        end(&control);
        assert_eq!(control.is_ending(), name != "nothing", "{name}");
    }
    let sent = [
        ("a message", frame(true, b"hello"), false),
        ("its client's Close", close(true, 1000), true),
        ("a frame that breaks the grammar", frame(false, b"hello"), true),
    ];
    for (name, bytes, is_ending) in sent {
        let mut rig = run(roomy(), 1 << 20, b"");
        rig.client.write_all(&bytes).await.unwrap();
        assert_eq!(read(&mut rig.backend, 8).await.len(), 8, "{name}: it was judged");
        assert_eq!(rig.control.is_ending(), is_ending, "{name}");
        rig.task.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_whose_access_is_taken_away_does_not_linger_beyond_its_second() {
    #[rustfmt::skip]
    let ends = [
        ("nobody says Close", Cause::Revoked, false, SECOND),
        ("both say Close and keep their sockets", Cause::Revoked, true, SECOND),
        ("the twin: another cause", Cause::Drain, true, LINGER),
    ];
    for (name, cause, says_close, lasts) in ends {
        let mut rig = run(roomy(), 1 << 10, b"");
        assert!(rig.control.end(cause));
        let told = Instant::now();
        assert_eq!(read(&mut rig.client, 2).await, [0x88, 2], "{name}");
        let [high, low] = [rig.client.read_u8().await.unwrap(), rig.client.read_u8().await.unwrap()];
        if says_close {
            rig.client.write_all(&close(true, u16::from_be_bytes([high, low]))).await.unwrap();
            rig.backend.write_all(&close(false, 1001)).await.unwrap();
        }
        rig.task.await.unwrap();
        assert!(within_a_tick(told.elapsed(), lasts), "{name}: {:?}", told.elapsed());
        assert_eq!(rest(&mut rig.client).await, b"", "{name}: its stream ends");
    }
    // One that is over already, and lingers.
    let mut rig = run(roomy(), 1 << 10, b"");
    rig.client.write_all(&close(true, 1000)).await.unwrap();
    assert_eq!(read(&mut rig.backend, 8).await.len(), 8);
    rig.backend.write_all(&close(false, 1000)).await.unwrap();
    assert_eq!(rest(&mut rig.client).await, close(false, 1000));
    let over = Instant::now();
    assert!(rig.control.end(Cause::Revoked));
    assert_eq!(rig.task.await.unwrap().cause, Cause::Closed);
    assert!(within_a_tick(over.elapsed(), Duration::ZERO), "{:?}", over.elapsed());
}

/// Timers ring at whole milliseconds.
fn within_a_tick(lived: Duration, expected: Duration) -> bool {
    lived.abs_diff(expected) <= Duration::from_millis(2)
}

#[tokio::test(start_paused = true)]
async fn a_revocation_counts_above_what_ended_a_session_before() {
    let mut lived = Vec::new();
    for is_revoked in [true, false] {
        let mut rig = run(roomy(), 1 << 20, b"");
        assert!(rig.control.end(Cause::Drain));
        assert_eq!(read(&mut rig.client, 4).await, close(false, 1001));
        let told = Instant::now();
        if is_revoked {
            assert!(rig.control.end(Cause::Revoked));
            assert!(!rig.control.end(Cause::Revoked), "it was already");
        }
        assert_eq!(rig.task.await.unwrap().cause, Cause::Drain, "OP06");
        lived.push(told.elapsed());
    }
    let (revoked, drained) = (lived[0], lived[1]);
    let longer = roomy().close_timeout + LINGER - SECOND;
    assert!(within_a_tick(drained - revoked, longer), "OP06: nobody said Close, and only one has its time: {lived:?}");
}
