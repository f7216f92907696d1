//! `gateway run --takeover`: a new process takes the listening sockets of the one that runs, over a Unix socket, and that one
//! drains once the new one serves. No connection is refused or reset, for no socket is closed in between.
//!
//! What goes over the wire, per listening socket: its name in `NAME_BYTES` bytes, padded with zeros, and the descriptor
//! (unix(7), `SCM_RIGHTS`); an empty name ends the list. The new gateway then says one byte when it serves. If it ends without
//! that, the old one goes on as if nothing had been.

use std::fs::Permissions;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};

use super::sockets::Inherited;

/// The longest name of a listener that can be handed over.
const NAME_BYTES: usize = 256;

/// What the new gateway says once it serves.
const SERVES: u8 = b'S';

/// How long the other process may be silent. A new gateway asks for its issuers' keys, and for what gateways
/// share, before it says that it serves.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where a running gateway can be taken over from; removed with it, unless another has taken the place.
pub(super) struct Offer {
    socket: tokio::net::UnixListener,
    path: PathBuf,
}

impl Offer {
    /// Opens the door, to this user only. In place of a predecessor's, whose door it then is no more.
    ///
    /// # Errors
    /// The folder cannot be written, or the path is too long for a socket (unix(7): 107 bytes).
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let fresh = path.with_extension(format!("{}.new", std::process::id()));
        let _ = std::fs::remove_file(&fresh);
        let socket = tokio::net::UnixListener::bind(&fresh)?;
        std::fs::set_permissions(&fresh, Permissions::from_mode(0o600))?;
        std::fs::rename(&fresh, path)?;
        Ok(Self {
            socket,
            path: path.to_owned(),
        })
    }

    /// Waits until another gateway has taken these sockets and serves. It does not end before.
    pub(super) async fn taken(&self, sockets: &[(String, TcpListener)]) {
        loop {
            let Ok((stream, _)) = self.socket.accept().await else {
                std::future::pending::<()>().await;
                return;
            };
            // The file's mode says so already; a folder that others may write does not.
            let same_user = stream
                .peer_cred()
                .is_ok_and(|peer| peer.uid() == rustix::process::geteuid().as_raw() || peer.uid() == 0);
            if !same_user {
                tracing::warn!("takeover refused: another user asked");
                continue;
            }
            let copies: io::Result<Vec<_>> = sockets
                .iter()
                .map(|(name, socket)| Ok((name.clone(), socket.try_clone()?)))
                .collect();
            let handed = async {
                let (stream, copies) = (stream.into_std()?, copies?);
                tokio::task::spawn_blocking(move || hand_over(stream, &copies))
                    .await
                    .map_err(io::Error::other)?
            };
            match handed.await {
                Ok(()) => return,
                Err(error) => tracing::warn!(error = %error, "takeover given up; this gateway goes on"),
            }
        }
    }

    /// Closes the door at the end of a process that nobody took over from.
    pub(super) fn close(self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

fn hand_over(mut stream: UnixStream, sockets: &[(String, TcpListener)]) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    for (name, socket) in sockets {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let descriptors = [socket.as_fd()];
        ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
        let name = padded(name)?;
        let sent = sendmsg(&stream, &[IoSlice::new(&name)], &mut ancillary, SendFlags::NOSIGNAL)?;
        if sent != NAME_BYTES {
            return Err(io::ErrorKind::WriteZero.into());
        }
    }
    stream.write_all(&[0; NAME_BYTES])?;
    let mut word = [0];
    stream.read_exact(&mut word)?;
    if word == [SERVES] {
        Ok(())
    } else {
        Err(io::ErrorKind::InvalidData.into())
    }
}

/// A takeover that has begun: the sockets are here, the other gateway still serves.
pub(super) struct Takeover(UnixStream);

impl Takeover {
    /// Asks the gateway that runs with this config for its sockets.
    ///
    /// # Errors
    /// None runs, it belongs to another user, or it broke off.
    pub(super) fn begin(path: &Path) -> io::Result<(Self, Inherited)> {
        let nobody = |error: io::Error| {
            let path = path.display();
            io::Error::new(error.kind(), format!("no gateway to take over from at {path}: {error}"))
        };
        let stream = UnixStream::connect(path).map_err(nobody)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut inherited = Inherited::default();
        loop {
            let mut name = [0; NAME_BYTES];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut ancillary = RecvAncillaryBuffer::new(&mut space);
            let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::WAITALL;
            let received = recvmsg(&stream, &mut [IoSliceMut::new(&mut name)], &mut ancillary, flags)?;
            if received.bytes != NAME_BYTES {
                return Err(nobody(io::ErrorKind::UnexpectedEof.into()));
            }
            let mut descriptors = ancillary.drain().filter_map(|message| match message {
                RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
                _ => None,
            });
            let Some(descriptor) = descriptors.next().and_then(|mut descriptors| descriptors.next()) else {
                return Ok((Self(stream), inherited));
            };
            let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
            inherited.push(
                String::from_utf8_lossy(name).into_owned(),
                TcpListener::from(descriptor),
            );
        }
    }

    /// Tells the other gateway that this one serves, whereupon it drains.
    ///
    /// # Errors
    /// It has gone; then nothing is left to be told.
    pub(super) fn complete(mut self) -> io::Result<()> {
        self.0.write_all(&[SERVES])
    }
}

fn padded(name: &str) -> io::Result<[u8; NAME_BYTES]> {
    let mut padded = [0; NAME_BYTES];
    // One zero at least ends it.
    let room = padded.get_mut(..name.len()).filter(|room| room.len() < NAME_BYTES);
    let room =
        room.ok_or_else(|| io::Error::other(format!("the listener's name {name:?} is too long to be handed over")))?;
    room.copy_from_slice(name.as_bytes());
    Ok(padded)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn sockets_go_over_with_their_names_and_the_old_gateway_learns_that_the_new_one_serves() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gateway.takeover.sock");
        let offer = Offer::open(&path).unwrap();
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let sockets = [("public".to_owned(), socket)];
        let asked = tokio::task::spawn_blocking(move || {
            // Whoever gives up costs nothing.
            drop(Takeover::begin(&path).unwrap());
            let (takeover, mut inherited) = Takeover::begin(&path).unwrap();
            let taken = inherited.take("public", address);
            takeover.complete().unwrap();
            taken
        });
        offer.taken(&sockets).await;
        let taken = asked.await.unwrap();
        assert_eq!(taken.first().unwrap().local_addr().unwrap(), address);
    }

    #[test]
    fn a_name_that_does_not_fit_is_refused() {
        assert!(padded(&"n".repeat(NAME_BYTES - 1)).is_ok());
        assert!(padded(&"n".repeat(NAME_BYTES)).is_err());
    }

    #[test]
    fn nobody_to_take_over_from_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let error = Takeover::begin(&folder.path().join("none")).err().unwrap().to_string();
        assert!(error.contains("no gateway to take over from"), "{error}");
    }
}
