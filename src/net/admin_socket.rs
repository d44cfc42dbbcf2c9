//! The unix socket of the admin listener: a file that only its owner may open, from its first moment.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::geteuid;
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::{UnixListener, UnixStream};

/// Connections that wait in the kernel's queue.
const BACKLOG: i32 = 16;

/// A listening unix socket, whose file goes when it is dropped.
#[derive(Debug)]
pub struct AdminSocket {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode: a file of somebody else at the same path is left alone.
    file: (u64, u64),
    /// Whether the file is to go with it: it stays for another process that serves the same socket.
    is_ours: AtomicBool,
}

impl AdminSocket {
    /// Listens at `path`, with mode 0600. A socket that nobody serves any longer is replaced; one that somebody serves, and
    /// anything that is no socket, is an error. A folder that is missing is made.
    ///
    /// # Errors
    /// One line that names the path and what stands there, or what the system said.
    pub fn bind(path: &Path) -> io::Result<Self> {
        let told = |error: io::Error| io::Error::new(error.kind(), format!("admin socket {}: {error}", path.display()));
        Self::listen(path).map_err(told)
    }

    fn listen(path: &Path) -> io::Result<Self> {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        judge_what_stands(path)?;
        let mut beside = path.as_os_str().to_owned();
        beside.push(format!(".{}", std::process::id()));
        let beside = PathBuf::from(beside);
        let _ = fs::remove_file(&beside);
        // Nobody can connect before it listens, and it listens only once nobody else may.
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.bind(&SockAddr::unix(&beside)?)?;
        let placed = fs::set_permissions(&beside, Permissions::from_mode(0o600))
            .and_then(|()| socket.listen(BACKLOG))
            .and_then(|()| fs::rename(&beside, path));
        if let Err(error) = placed {
            let _ = fs::remove_file(&beside);
            return Err(error);
        }
        socket.set_nonblocking(true)?;
        let metadata = fs::symlink_metadata(path)?;
        let listener = UnixListener::from_std(socket.into())?;
        Ok(Self::new(listener, path, &metadata, true))
    }

    fn new(listener: UnixListener, path: &Path, metadata: &fs::Metadata, is_ours: bool) -> Self {
        let file = (metadata.dev(), metadata.ino());
        Self { listener, path: path.to_owned(), file, is_ours: AtomicBool::new(is_ours) }
    }

    /// Serves the socket at `path` beside the process that serves it already; its file is not this process's until it is
    /// [kept](Self::keep).
    ///
    /// # Errors
    /// Where the system cannot watch it, or nothing stands there.
    pub fn adopt(socket: OwnedFd, path: &Path) -> io::Result<Self> {
        let listener = std::os::unix::net::UnixListener::from(socket);
        listener.set_nonblocking(true)?;
        Ok(Self::new(UnixListener::from_std(listener)?, path, &fs::symlink_metadata(path)?, false))
    }

    /// The file is this process's from here on.
    pub fn keep(&self) {
        self.is_ours.store(true, Ordering::Release);
    }

    /// The file is another process's from here on.
    pub fn leave(&self) {
        self.is_ours.store(false, Ordering::Release);
    }

    /// The next who calls.
    ///
    /// # Errors
    /// What the system says.
    pub async fn accept(&self) -> io::Result<UnixStream> {
        self.listener.accept().await.map(|(stream, _)| stream)
    }
}

/// Whether the other end is root's, or of the user who runs this process. The file's mode says the same; this holds where a
/// folder or a mount weakens it.
pub fn is_owners(stream: &UnixStream) -> bool {
    stream.peer_cred().is_ok_and(|peer| is_root_or(geteuid().as_raw(), peer.uid()))
}

fn is_root_or(owner: u32, user: u32) -> bool {
    user == 0 || user == owner
}

/// Nothing, or a socket behind which nobody listens, may be replaced.
fn judge_what_stands(path: &Path) -> io::Result<()> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !metadata.file_type().is_socket() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "something else than a socket stands there"));
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // A full queue must not hold the start.
    socket.set_nonblocking(true)?;
    match socket.connect(&SockAddr::unix(path)?) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(error),
        Ok(()) | Err(_) => Err(io::Error::new(io::ErrorKind::AddrInUse, "another gateway serves it")),
    }
}

impl AsFd for AdminSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

impl Drop for AdminSocket {
    fn drop(&mut self) {
        let ours = self.is_ours.load(Ordering::Acquire)
            && fs::symlink_metadata(&self.path).is_ok_and(|now| (now.dev(), now.ino()) == self.file);
        if ours {
            // Where it cannot be removed, the next start replaces it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn op11_root_and_the_owner_may_call_and_nobody_else() {
        let cases = [
            (1000, 0, true),
            (1000, 1000, true),
            (0, 0, true),
            (1000, 1001, false),
            (1000, 999, false),
            (1000, 65534, false),
            (0, 1000, false),
            (0, u32::MAX, false),
        ];
        for (owner, user, may) in cases {
            assert_eq!(is_root_or(owner, user), may, "a gateway of {owner}, called by {user}");
        }
        assert_eq!(cases.len(), 8);
    }

    #[tokio::test]
    async fn op11_the_kernel_says_who_calls() {
        let (one, _other) = UnixStream::pair().unwrap();
        assert_eq!(one.peer_cred().unwrap().uid(), geteuid().as_raw());
        assert!(is_owners(&one));
    }
}
