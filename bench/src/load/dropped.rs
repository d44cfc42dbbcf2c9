//! Connections beyond the cap, which are to be closed without a word.
//!
//! One after another with blocking sockets: there is nothing to overlap, and no runtime's cost beside the drop's.

use std::io::{ErrorKind, Read as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::{Common, GRACE, quiet};
use crate::fault::{During as _, Fault, Outcome};
use crate::latency::{Latencies, now};

/// How long a connection may take to be closed.
const PATIENCE: Duration = Duration::from_secs(5);

/// Connections beyond the cap.
#[derive(Clone, Debug, Args)]
pub(crate) struct DroppedArgs {
    #[command(flatten)]
    common: Common,
    /// How many are dropped.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    count: u32,
    /// How many silent connections fill the cap before.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=16_000))]
    held: u32,
}

/// Fills the cap, and connects beyond it.
pub(crate) async fn run(args: &DroppedArgs) -> Outcome<Value> {
    let DroppedArgs { common, count, held } = args;
    let address = common.url.address;
    let fill: Outcome<Vec<TcpStream>> = (0..*held).map(|_| TcpStream::connect(address).during("connecting")).collect();
    let fill = fill?;
    let process = common.process();
    let mut latencies = Latencies::default();
    let (cpu_before, begun) = (quiet(process).await?, now());
    for number in 0..*count {
        if begun.elapsed() > common.window() + GRACE {
            return Err(Fault::new(format!("after {number} connections the time is over")));
        }
        let begun = now();
        connect_and_be_dropped(address).map_err(|fault| Fault::new(format!("connection {number}: {fault}")))?;
        latencies.add(begun.elapsed());
    }
    let seconds = begun.elapsed().as_secs_f64();
    let cpu = quiet(process).await?.saturating_sub(cpu_before);
    drop(fill);
    Ok(json!({
        "mode": "dropped", "count": count, "held": held, "cpu_us_per_drop": cpu.as_secs_f64() * 1e6 / f64::from(*count),
        "seconds": seconds, "p50_us": latencies.percentile_us(50), "p99_us": latencies.percentile_us(99),
    }))
}

/// One connection, which is to be closed before a byte comes: by its end or by a reset.
fn connect_and_be_dropped(address: SocketAddr) -> Outcome<()> {
    let mut connection = TcpStream::connect(address).during("connecting")?;
    connection.set_read_timeout(Some(PATIENCE)).during("setting a deadline")?;
    match connection.read(&mut [0]) {
        Ok(0) => Ok(()),
        Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(()),
        Ok(_) => Err(Fault::new("it is answered, and was to be dropped")),
        Err(error) => Err(Fault::new(format!("it is not dropped: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// What is said of a server that does `serve` with its one connection.
    fn said_of(serve: impl FnOnce(TcpStream) + Send + 'static) -> Outcome<()> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = thread::spawn(move || serve(listener.accept().unwrap().0));
        let said = connect_and_be_dropped(address);
        server.join().unwrap();
        said
    }

    #[test]
    fn a_connection_is_dropped_only_if_no_byte_came() {
        assert!(said_of(drop).is_ok());
        assert!(said_of(|mut connection| connection.write_all(b"x").unwrap()).is_err());
    }
}
