//! A server whose changes are remembered.

use std::sync::Mutex;

use super::*;

/// A server, and what was told of it.
pub(super) struct Yard {
    pub(super) target: Arc<Target>,
    told: Arc<Mutex<Vec<String>>>,
    ground: Ground,
}

pub(super) fn yard(host: ServerHost) -> Yard {
    let server = Server { name: String::from("ws://backend.test"), tls: false, host, port: 80 };
    let told = Arc::new(Mutex::new(Vec::new()));
    let tell = Arc::clone(&told);
    let told_to = move |change: ServerChange| tell.lock().unwrap().push(format!("{:?}", change.what));
    let ground = Ground { told: Arc::new(told_to), random: |bytes| bytes.fill(0) };
    Yard { target: Arc::new(Target::new(&server)), told, ground }
}

impl Yard {
    pub(super) fn watched(&self) -> Watched {
        Watched { target: Arc::clone(&self.target), policy: PolicyName::new("chat"), ground: self.ground.clone() }
    }

    pub(super) fn told(&self) -> Vec<String> {
        self.told.lock().unwrap().clone()
    }
}
