//! Names to addresses, by the system's resolver, which blocks: for 5 s and more for each dead nameserver.
//!
//! A resolver has a few threads of its own, so that lookups that hang take none from anybody else. Each name is asked
//! for once at a time, whoever waits; the answer is used for a moment without asking again, and for as long as the
//! system's resolver does not answer. Names that are known to exist, those of an ensemble's members, keep their last
//! addresses also while a nameserver says that there is none.

use std::{
    collections::BTreeMap,
    fmt, io,
    net::{IpAddr, SocketAddr, ToSocketAddrs as _},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Semaphore, watch},
    time::{Instant, timeout},
};

use crate::blocking;

/// How long an answer is used without asking again.
const FRESH: Duration = Duration::from_secs(5);

/// How long a new answer is waited for when there is an old one.
const PATIENCE: Duration = Duration::from_millis(500);

/// So many names are kept; beyond that, those that nobody asks for now are forgotten.
const MOST_NAMES: usize = 1000;

/// Why a name has no address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LookupError {
    /// The resolver's answer: there is no such name.
    NoSuchName(String),
    /// It did not answer, or could not be asked: nothing is known of the name.
    NoAnswer(String),
}

impl fmt::Display for LookupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchName(host) => write!(f, "there is no host \"{host}\" by the system's resolver"),
            Self::NoAnswer(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for LookupError {}

impl From<LookupError> for io::Error {
    fn from(error: LookupError) -> Self {
        Self::other(error)
    }
}

type Answer = Result<Vec<SocketAddr>, LookupError>;

/// How a name is looked up; the port is 0.
type Ask = fn(&str) -> io::Result<Vec<SocketAddr>>;

/// Looks names up.
#[derive(Debug)]
pub(crate) struct Resolver {
    seats: Semaphore,
    names: Mutex<BTreeMap<String, Name>>,
    ask: Ask,
    /// That a name does not exist is believed also after it had addresses.
    forgets: bool,
}

#[derive(Debug, Default)]
struct Name {
    /// The last addresses, and when they were had.
    good: Option<(Instant, Vec<SocketAddr>)>,
    under_way: Option<watch::Receiver<Option<Answer>>>,
    /// The last lookup failed, which was said.
    failed: bool,
}

impl Resolver {
    /// One that asks the system for so many names at once.
    pub(crate) const fn new(threads: usize) -> Self {
        Self::asking(threads, ask_system)
    }

    /// The same, of names that exist whatever a nameserver says: once it had addresses, a name keeps the last ones until
    /// there are others.
    pub(crate) const fn keeping(threads: usize) -> Self {
        Self {
            seats: Semaphore::const_new(threads),
            names: Mutex::new(BTreeMap::new()),
            ask: ask_system,
            forgets: false,
        }
    }

    const fn asking(threads: usize, ask: Ask) -> Self {
        Self { seats: Semaphore::const_new(threads), names: Mutex::new(BTreeMap::new()), ask, forgets: true }
    }

    /// The addresses of a host, with this port. One that is written as an address is not looked up.
    ///
    /// # Errors
    /// When there is no such name, or nobody knows. The caller sets the time: without an old answer this waits for as long
    /// as the system's resolver does.
    pub(crate) async fn look_up(&'static self, host: &str, port: u16) -> Answer {
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        let with_port = |addresses: Vec<SocketAddr>| {
            addresses.into_iter().map(|mut address| {
                address.set_port(port);
                address
            })
        };
        self.addresses(host).await.map(|addresses| with_port(addresses).collect())
    }

    async fn addresses(&'static self, host: &str) -> Answer {
        let (good, mut answer) = match self.begin(host) {
            Begun::Known(addresses) => return Ok(addresses),
            Begun::UnderWay(good, answer) => (good, answer),
        };
        let ended = async {
            let ended = answer.wait_for(Option::is_some).await;
            ended
                .ok()
                .and_then(|ended| ended.clone())
                .unwrap_or_else(|| Err(no_answer(host, "the lookup was given up")))
        };
        match good {
            None => ended.await,
            Some(old) => match timeout(PATIENCE, ended).await {
                Ok(Err(error)) if self.keeps_after(&error) => Ok(old),
                Err(_) => Ok(old),
                Ok(answer) => answer,
            },
        }
    }

    /// Whether the last addresses are used in spite of this.
    fn keeps_after(&self, error: &LookupError) -> bool {
        !self.forgets || matches!(error, LookupError::NoAnswer(_))
    }

    /// What is known of the name, and the lookup that is under way from now on.
    fn begin(&'static self, host: &str) -> Begun {
        let mut names = self.lock();
        if names.len() >= MOST_NAMES {
            names.retain(|_, name| name.under_way.is_some());
        }
        let name = names.entry(host.to_owned()).or_default();
        if let Some((_, addresses)) = name.good.as_ref().filter(|(at, _)| at.elapsed() < FRESH) {
            return Begun::Known(addresses.clone());
        }
        let good = name.good.as_ref().map(|(_, addresses)| addresses.clone());
        // One whose runtime is gone never ends.
        let under_way = name.under_way.clone().filter(|answer| answer.has_changed().is_ok());
        let answer = under_way.unwrap_or_else(|| {
            let (sender, answer) = watch::channel(None);
            tokio::spawn(self.run(host.to_owned(), sender));
            name.under_way = Some(answer.clone());
            answer
        });
        Begun::UnderWay(good, answer)
    }

    async fn run(&'static self, host: String, answer: watch::Sender<Option<Answer>>) {
        // Never closed. Held until the thread ends, however long that is.
        let _seat = self.seats.acquire().await;
        let (ask, asked) = (self.ask, host.clone());
        let found = blocking::on_own_thread("zkops-lookup", move || ask(&asked)).await.flatten();
        let found = found.map_err(|error| lookup_error(&host, &error));
        let mut names = self.lock();
        let name = names.entry(host).or_default();
        name.under_way = None;
        match &found {
            Ok(addresses) => name.good = Some((Instant::now(), addresses.clone())),
            Err(error) if self.keeps_after(error) => name.say_kept(error),
            Err(_) => name.good = None,
        }
        name.failed = found.is_err();
        answer.send_replace(Some(found));
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Name>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Name {
    /// Once for each time that the lookups begin to fail.
    fn say_kept(&self, error: &LookupError) {
        if let Some((_, addresses)) = self.good.as_ref().filter(|_| !self.failed) {
            let addresses: Vec<String> = addresses.iter().map(|address| address.ip().to_string()).collect();
            tracing::warn!("{error}; its last addresses are used: {}", addresses.join(", "));
        }
    }
}

enum Begun {
    Known(Vec<SocketAddr>),
    UnderWay(Option<Vec<SocketAddr>>, watch::Receiver<Option<Answer>>),
}

fn ask_system(host: &str) -> io::Result<Vec<SocketAddr>> {
    Ok((host, 0).to_socket_addrs()?.collect())
}

/// What getaddrinfo(3) says, by its words: its numbers are not handed on.
fn lookup_error(host: &str, error: &io::Error) -> LookupError {
    let words = super::words(error);
    let unknown = ["Name or service not known", "No address associated with hostname"];
    if unknown.iter().any(|known| words.contains(known)) {
        return LookupError::NoSuchName(host.to_owned());
    }
    no_answer(host, words.strip_prefix("failed to lookup address information: ").unwrap_or(&words))
}

fn no_answer(host: &str, why: &str) -> LookupError {
    LookupError::NoAnswer(format!("\"{host}\" cannot be looked up: {why}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::{
        sync::atomic::{AtomicBool, AtomicUsize, Ordering},
        thread,
    };

    use super::*;

    fn resolver(ask: Ask) -> &'static Resolver {
        Box::leak(Box::new(Resolver::asking(2, ask)))
    }

    fn local() -> Vec<SocketAddr> {
        vec![SocketAddr::from(([127, 0, 0, 1], 0))]
    }

    /// As after a while.
    fn age(resolver: &Resolver) {
        for (at, _) in resolver.lock().values_mut().filter_map(|name| name.good.as_mut()) {
            *at -= FRESH;
        }
    }

    async fn soon<T>(work: impl Future<Output = T>) -> Option<T> {
        timeout(Duration::from_millis(200), work).await.ok()
    }

    #[tokio::test]
    async fn addresses_are_not_looked_up_and_names_get_the_port() {
        let never = resolver(|_| panic!("asked"));
        assert_eq!(never.look_up("::1", 80).await.unwrap(), ["[::1]:80".parse().unwrap()]);
        let names = resolver(|_| Ok(local()));
        assert_eq!(names.look_up("db", 80).await.unwrap(), ["127.0.0.1:80".parse().unwrap()]);
    }

    #[tokio::test]
    async fn lookups_that_hang_keep_nobody_but_other_lookups_waiting() {
        static ASKED: AtomicUsize = AtomicUsize::new(0);
        let dead = resolver(|_| {
            ASKED.fetch_add(1, Ordering::Relaxed);
            loop {
                thread::park();
            }
        });
        for _ in 0..20 {
            for host in ["a", "b", "c", "d"] {
                let look = timeout(Duration::from_millis(1), dead.look_up(host, 80)).await;
                assert!(look.is_err());
            }
        }
        assert_eq!(ASKED.load(Ordering::Relaxed), 2, "so many threads it has");
        assert_eq!(soon(crate::blocking::beside(|| 7)).await, Some(7));
    }

    #[tokio::test]
    async fn the_last_addresses_are_used_for_as_long_as_the_resolver_does_not_answer() {
        static DEAD: AtomicBool = AtomicBool::new(false);
        let failing = resolver(|_| {
            let failure =
                io::Error::other("failed to lookup address information: Temporary failure in name resolution");
            if DEAD.load(Ordering::Relaxed) { Err(failure) } else { Ok(local()) }
        });
        assert!(failing.look_up("db", 80).await.is_ok());
        DEAD.store(true, Ordering::Relaxed);
        for _ in 0..3 {
            age(failing);
            assert!(failing.look_up("db", 80).await.is_ok());
        }
        let message = "\"other\" cannot be looked up: Temporary failure in name resolution";
        assert_eq!(failing.look_up("other", 80).await, Err(LookupError::NoAnswer(message.to_owned())));
    }

    #[tokio::test]
    async fn a_name_that_is_gone_is_gone() {
        static GONE: AtomicBool = AtomicBool::new(false);
        let names = resolver(|_| {
            let gone = io::Error::other("failed to lookup address information: Name or service not known");
            if GONE.load(Ordering::Relaxed) { Err(gone) } else { Ok(local()) }
        });
        assert!(names.look_up("db", 80).await.is_ok());
        GONE.store(true, Ordering::Relaxed);
        age(names);
        assert_eq!(names.look_up("db", 80).await, Err(LookupError::NoSuchName("db".to_owned())));
    }

    #[tokio::test]
    async fn a_member_of_the_ensemble_keeps_its_addresses_whatever_a_nameserver_says() {
        static GONE: AtomicBool = AtomicBool::new(true);
        let ask: Ask = |_| {
            let gone = io::Error::other("failed to lookup address information: Name or service not known");
            if GONE.load(Ordering::Relaxed) { Err(gone) } else { Ok(local()) }
        };
        let names: &'static Resolver = Box::leak(Box::new(Resolver { ask, ..Resolver::keeping(2) }));
        assert_eq!(names.look_up("zk1", 2181).await, Err(LookupError::NoSuchName("zk1".to_owned())), "never had any");
        GONE.store(false, Ordering::Relaxed);
        assert!(names.look_up("zk1", 2181).await.is_ok());
        GONE.store(true, Ordering::Relaxed);
        for _ in 0..3 {
            age(names);
            assert_eq!(names.look_up("zk1", 2181).await.unwrap(), ["127.0.0.1:2181".parse().unwrap()]);
        }
    }
}
