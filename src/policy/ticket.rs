//! Tickets: random words that open one session each, bought with a credential by a page that can set headers, for a
//! handshake that can set none (OWASP ASVS 5.0, 4.4.4).
//!
//! A ticket is found by its digest, holds for [`TICKET_LIFE`], and is gone once it was shown, wherever that was and
//! whatever else was wrong with the handshake that showed it. Only what is refused before a credential is looked at, for
//! its host, path or Origin or for a cap, has shown none. It is bound to a policy, host, path and Origin. What it stands
//! for is the credential that bought it, which is judged again by the gate that the ticket opens: the session has the
//! principal and the lease of that credential, and outlives neither its key nor its line.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{SHA256, digest};
use subtle::ConstantTimeEq as _;

use super::auth::Auth;
use super::credential::{Carrier, Presented, query_values};
use super::origin::AllowedOrigin;
use super::{PolicyName, Reason, Refusal};
use crate::peer::{ClientNet, SessionId};
use crate::secret::Secret;

/// How long a ticket may be used.
pub const TICKET_LIFE: Duration = Duration::from_secs(30);
/// The most tickets that nobody has used yet.
pub const MOST_TICKETS: usize = 16_384;
/// The most bytes that they are kept in, all told.
pub const MOST_BYTES: usize = 32 << 20;
/// The most of one subject.
pub const MOST_OF_A_SUBJECT: u32 = 32;
/// The most of one client network.
pub const MOST_OF_A_NETWORK: u32 = 512;

/// Where a ticket may be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    policy: PolicyName,
    host: Box<str>,
    path: Box<str>,
    origin: Option<Box<str>>,
}

impl Place {
    /// The place of a handshake, or of the one that a call is about.
    pub fn new(policy: &PolicyName, host: &str, path: &str, origin: &AllowedOrigin) -> Self {
        Self { policy: policy.clone(), host: host.into(), path: path.into(), origin: origin.value().map(Box::from) }
    }
}

/// What a ticket stands for.
#[derive(Debug)]
pub struct Sold {
    /// Where it may be used.
    pub place: Place,
    /// What it was bought with.
    pub credential: Presented,
    /// The id by which its session may be renewed.
    pub session: SessionId,
}

/// Who bought a ticket.
#[derive(Clone, Debug)]
pub struct Buyer {
    /// `issuer/subject`.
    pub subject: Box<str>,
    /// The network that is charged; `None` for a trusted proxy that speaks for itself.
    pub net: Option<ClientNet>,
}

/// Whether this carrier is a ticket's.
pub fn is_of_tickets(ways: &[Auth], carrier: &Carrier) -> bool {
    ways.iter().any(|way| matches!(way, Auth::Ticket(rules) if rules.from.contains(carrier)))
}

/// Every word that a query shows in the place of a ticket.
pub fn shown(ways: &[Auth], query: Option<&str>) -> Vec<Secret<String>> {
    let places = ways.iter().filter(|way| matches!(way, Auth::Ticket(_))).flat_map(Auth::from);
    let words = places.flat_map(|place| match place {
        Carrier::Query(name) => query_values(query, name),
        Carrier::Authorization | Carrier::Subprotocol(_) | Carrier::Cookie(_) => Vec::new(),
    });
    words.map(Secret::new).collect()
}

type Digest = [u8; 32];

/// Every ticket that nobody has used yet.
#[derive(Debug, Default)]
pub struct Tickets {
    unused: HashMap<Digest, Unused>,
    by_end: BTreeSet<(Instant, Digest)>,
    subjects: HashMap<Box<str>, u32>,
    nets: HashMap<ClientNet, u32>,
    bytes: usize,
}

#[derive(Debug)]
struct Unused {
    digest: Digest,
    ends: Instant,
    sold: Sold,
    buyer: Buyer,
    /// What it is kept in, all told.
    bytes: usize,
}

/// Bytes of one ticket's places in all tables, which have up to as much room to spare.
const PLACES: usize =
    2 * (size_of::<Unused>() + 2 * size_of::<Digest>() + size_of::<(Box<str>, u32, ClientNet, u32, Instant)>());

/// What a ticket is kept in: its places in the tables, and every text behind them.
fn bytes_of(sold: &Sold, buyer: &Buyer) -> usize {
    let Place { policy: _, host, path, origin } = &sold.place;
    let carrier = match &sold.credential.carrier {
        Carrier::Authorization => 0,
        Carrier::Subprotocol(name) | Carrier::Cookie(name) | Carrier::Query(name) => name.len(),
    };
    let origin = origin.as_ref().map_or(0, |origin| origin.len());
    // A buyer's name is a key of its own besides.
    let texts =
        [host.len(), path.len(), origin, carrier, sold.credential.token.expose().len(), 2 * buyer.subject.len()];
    texts.into_iter().fold(PLACES, usize::saturating_add)
}

impl Tickets {
    /// Takes a ticket in; `word` is what its buyer is told.
    ///
    /// # Errors
    /// `tickets_unused` where the buyer has too many, `tickets_full` where there are too many of all: a ticket that was
    /// sold is never given up for another.
    pub fn sell(&mut self, word: &str, sold: Sold, buyer: Buyer, now: Instant) -> Result<(), Refusal> {
        self.forget(now);
        let of_subject = self.subjects.get(&buyer.subject).copied().unwrap_or_default();
        let of_net = buyer.net.and_then(|net| self.nets.get(&net).copied()).unwrap_or_default();
        if of_subject >= MOST_OF_A_SUBJECT || of_net >= MOST_OF_A_NETWORK {
            return Err(Refusal::new(Reason::TicketsUnused).retry_after(TICKET_LIFE));
        }
        let bytes = bytes_of(&sold, &buyer);
        let all_bytes = self.bytes.saturating_add(bytes);
        // A digest that is there already would be a broken source of randomness.
        let digest = digest_of(word).filter(|digest| !self.unused.contains_key(digest));
        let (Some(digest), Some(ends)) = (digest, now.checked_add(TICKET_LIFE)) else {
            return Err(Refusal::new(Reason::Internal).with_detail("a ticket that cannot be kept"));
        };
        if self.unused.len() >= MOST_TICKETS || all_bytes > MOST_BYTES {
            return Err(Refusal::new(Reason::TicketsFull).retry_after(TICKET_LIFE));
        }
        self.bytes = all_bytes;
        count_up(&mut self.subjects, buyer.subject.clone());
        if let Some(net) = buyer.net {
            count_up(&mut self.nets, net);
        }
        self.by_end.insert((ends, digest));
        self.unused.insert(digest, Unused { digest, ends, sold, buyer, bytes });
        Ok(())
    }

    /// What this ticket stands for, if it was sold, nobody has shown it yet, and its time is not over. It is gone then.
    pub fn redeem(&mut self, word: &str, now: Instant) -> Option<Sold> {
        let digest = digest_of(word)?;
        let unused = self.take(&digest)?;
        let is_this = bool::from(unused.digest.ct_eq(&digest));
        (is_this && now < unused.ends).then_some(unused.sold)
    }

    /// How many are unused.
    pub fn len(&self) -> usize {
        self.unused.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.unused.is_empty()
    }

    /// Drops those whose time is over.
    pub fn forget(&mut self, now: Instant) {
        while let Some((_, digest)) = self.by_end.first().filter(|(ends, _)| *ends <= now).copied() {
            self.take(&digest);
        }
    }

    fn take(&mut self, digest: &Digest) -> Option<Unused> {
        let unused = self.unused.remove(digest)?;
        self.by_end.remove(&(unused.ends, *digest));
        self.bytes = self.bytes.saturating_sub(unused.bytes);
        count_down(&mut self.subjects, &unused.buyer.subject);
        if let Some(net) = &unused.buyer.net {
            count_down(&mut self.nets, net);
        }
        Some(unused)
    }
}

fn digest_of(word: &str) -> Option<Digest> {
    Digest::try_from(digest(&SHA256, word.as_bytes()).as_ref()).ok()
}

fn count_up<K: std::hash::Hash + Eq>(counts: &mut HashMap<K, u32>, key: K) {
    let count = counts.entry(key).or_default();
    *count = count.saturating_add(1);
}

fn count_down<K: std::hash::Hash + Eq>(counts: &mut HashMap<K, u32>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            counts.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::ClientAddr;

    const SECOND: Duration = Duration::from_secs(1);

    #[expect(clippy::disallowed_methods, reason = "a time to count from")]
    fn start() -> Instant {
        Instant::now()
    }

    fn sold(length: usize) -> Sold {
        Sold {
            place: Place::new(&PolicyName::new("chat"), "chat.test", "/chat", &AllowedOrigin::for_tests(None)),
            credential: Presented { carrier: Carrier::Authorization, token: Secret::new("t".repeat(length)) },
            session: SessionId::from_bytes([7; 16]),
        }
    }

    fn buyer(number: u32) -> Buyer {
        let address = std::net::Ipv4Addr::from(number);
        Buyer { subject: format!("login/{number}").into(), net: Some(ClientAddr::new(address.into()).net()) }
    }

    #[test]
    fn au26_a_ticket_is_used_once_and_in_time() {
        let (mut tickets, now) = (Tickets::default(), start());
        assert!(tickets.redeem("word", now).is_none(), "nobody sold it");
        tickets.sell("word", sold(1), buyer(1), now).unwrap();
        assert!(tickets.redeem("Word", now).is_none(), "another word");
        assert_eq!(tickets.redeem("word", now + TICKET_LIFE - SECOND).unwrap().place, sold(1).place);
        assert!(tickets.redeem("word", now).is_none(), "it was used");
        tickets.sell("late", sold(1), buyer(1), now).unwrap();
        assert!(tickets.redeem("late", now + TICKET_LIFE).is_none(), "its time is over");
        assert!(tickets.redeem("late", now).is_none(), "and shown it was");
        assert!(tickets.is_empty() && tickets.bytes == 0 && tickets.by_end.is_empty());
        assert!(tickets.subjects.is_empty() && tickets.nets.is_empty());
    }

    #[test]
    fn au26_the_store_is_bounded_and_forgets() {
        let (mut tickets, now) = (Tickets::default(), start());
        let most = u32::try_from(MOST_TICKETS).unwrap();
        for number in 0..most {
            tickets.sell(&number.to_string(), sold(10), buyer(number), now).unwrap();
        }
        let full = tickets.sell("more", sold(10), buyer(most), now).unwrap_err();
        assert_eq!(full.reason, Reason::TicketsFull);
        assert!(tickets.redeem("7", now).is_some());
        tickets.sell("more", sold(10), buyer(most), now).unwrap();
        assert_eq!(tickets.len(), MOST_TICKETS);
        tickets.sell("later", sold(10), buyer(1), now + TICKET_LIFE).unwrap();
        let bytes = bytes_of(&sold(10), &buyer(1));
        assert_eq!((tickets.len(), tickets.by_end.len(), tickets.bytes), (1, 1, bytes), "the others' time is over");
        assert_eq!((tickets.subjects.len(), tickets.nets.len()), (1, 1));
        tickets.forget(now + 2 * TICKET_LIFE);
        assert!(tickets.is_empty() && tickets.bytes == 0, "and nobody needs to buy another one for that");
    }

    #[test]
    fn au26_all_that_is_kept_is_bounded_in_bytes() {
        const LONG: usize = 1 << 20;
        let long = || "x".repeat(LONG);
        let place = |host: &str, path: &str, origin: Option<&str>| {
            Place::new(&PolicyName::new("chat"), host, path, &AllowedOrigin::for_tests(origin))
        };
        let cookie = || Presented { carrier: Carrier::Cookie(long()), token: Secret::new(String::from("t")) };
        type Keep<'k> = (&'k str, &'k dyn Fn(u32) -> (Sold, Buyer));
        let kinds: [Keep<'_>; 6] = [
            ("tokens", &|number| (sold(LONG), buyer(number))),
            ("hosts", &|number| (Sold { place: place(&long(), "/", None), ..sold(1) }, buyer(number))),
            ("paths", &|number| (Sold { place: place("a", &long(), None), ..sold(1) }, buyer(number))),
            ("origins", &|number| (Sold { place: place("a", "/", Some(&long())), ..sold(1) }, buyer(number))),
            ("carriers", &|number| (Sold { credential: cookie(), ..sold(1) }, buyer(number))),
            ("subjects", &|number| {
                (sold(1), Buyer { subject: format!("{number}{}", &long()[LONG / 2..]).into(), net: None })
            }),
        ];
        let most = u32::try_from(MOST_BYTES / LONG).unwrap();
        for (name, kept) in kinds {
            let (mut tickets, now) = (Tickets::default(), start());
            for number in 1..most {
                let (sold, buyer) = kept(number);
                tickets.sell(&number.to_string(), sold, buyer, now).unwrap();
            }
            let (one, another) = (kept(most), kept(most));
            let full = tickets.sell("more", one.0, one.1, now).unwrap_err();
            assert_eq!(full.reason, Reason::TicketsFull, "{name}");
            assert!(tickets.redeem("1", now).is_some());
            tickets.sell("more", another.0, another.1, now).unwrap();
        }
    }

    #[test]
    fn au26_nobody_buys_all_of_it() {
        let now = start();
        let subject = |_: u32| Buyer { net: None, ..buyer(1) };
        let network = |number: u32| Buyer { net: buyer(1).net, ..buyer(number) };
        let bounds: [(u32, &dyn Fn(u32) -> Buyer); 2] = [(MOST_OF_A_SUBJECT, &subject), (MOST_OF_A_NETWORK, &network)];
        for (bound, buyer_of) in bounds {
            let mut tickets = Tickets::default();
            for number in 0..bound {
                tickets.sell(&number.to_string(), sold(1), buyer_of(number), now).unwrap();
            }
            let refused = tickets.sell("more", sold(1), buyer_of(bound), now).unwrap_err();
            assert_eq!((refused.reason, refused.retry_after), (Reason::TicketsUnused, Some(TICKET_LIFE)));
            tickets.sell("another's", sold(1), buyer(70_000), now).unwrap();
            assert!(tickets.redeem("0", now).is_some());
            tickets.sell("more", sold(1), buyer_of(bound), now).unwrap();
        }
    }
}
