//! Being told of changes of keys: Redis's client-side caching in its broadcast mode, which tells of any client's writes.
//!
//! A connection of its own to each primary, for what it tells is bound to it: a connection that broke may have missed something.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::sentinel::{SentinelClient, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, ErrorKind, PushInfo, PushKind, RedisError,
    RedisResult, Value, from_redis_value,
};
use tokio::sync::mpsc;

use crate::compile::Servers;

use super::{Link, StoreError, within};

/// For all connections with their greetings.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// For one answer. Nobody's request waits for it.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// Tidings that wait to be read; more are lost, and that is said.
const WAITING: usize = 4096;

/// Keys that the server looks at for one answer.
const SCANNED_AT_ONCE: usize = 1000;

/// Keys that are asked about in one go.
const ASKED_AT_ONCE: usize = 1000;

/// What became of the followed keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::runtime) enum Change {
    /// These were written, removed, or have expired.
    Keys(Vec<Vec<u8>>),
    /// All may have changed.
    All,
    /// Nobody tells any more.
    Ended,
}

/// Connections that tell of changes of keys with certain prefixes.
pub(in crate::runtime) struct Tracking {
    primaries: Vec<Primary>,
    /// For questions about a key, wherever it is.
    asked: Link,
    told: mpsc::Receiver<Change>,
    lost: Arc<AtomicBool>,
}

struct Primary {
    address: ConnectionAddr,
    connection: MultiplexedConnection,
}

impl Tracking {
    /// Connects to every primary, and is told of changes from then on.
    ///
    /// # Errors
    /// One of them is not there, or does not tell.
    pub(in crate::runtime) async fn start(servers: &Servers, prefixes: &[&str]) -> Result<Self, StoreError> {
        within(CONNECT_TIMEOUT, Self::connect(servers, prefixes)).await
    }

    async fn connect(servers: &Servers, prefixes: &[&str]) -> RedisResult<Self> {
        let (tell, told) = mpsc::channel(WAITING);
        let lost = Arc::new(AtomicBool::new(false));
        let mut primaries = Vec::new();
        for info in primaries_of(servers).await? {
            let (tell, lost) = (tell.clone(), lost.clone());
            let config = AsyncConnectionConfig::new()
                .set_connection_timeout(None)
                .set_response_timeout(Some(ANSWER_TIMEOUT))
                .set_push_sender(move |push: PushInfo| {
                    if let Some(change) = change(push)
                        && tell.try_send(change).is_err()
                    {
                        lost.store(true, Ordering::Relaxed);
                    }
                    Ok::<(), ()>(())
                });
            let address = info.addr().clone();
            let client = Client::open(info)?;
            let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
            let mut command = redis::cmd("CLIENT");
            command.arg("TRACKING").arg("ON").arg("BCAST");
            for prefix in prefixes {
                command.arg("PREFIX").arg(prefix);
            }
            command.exec_async(&mut connection).await?;
            primaries.push(Primary { address, connection });
        }
        let asked = match (servers, primaries.first()) {
            (Servers::One(_) | Servers::Sentinel { .. }, Some(primary)) => Link::One(primary.connection.clone()),
            (Servers::Cluster(_), _) | (_, None) => Link::connect(servers).await?,
        };
        Ok(Self {
            primaries,
            asked,
            told,
            lost,
        })
    }

    /// The next change.
    pub(in crate::runtime) async fn changed(&mut self) -> Change {
        let change = self.told.recv().await;
        self.or_all(change)
    }

    /// A change that is known already.
    pub(in crate::runtime) fn known_change(&mut self) -> Option<Change> {
        let change = self.told.try_recv().ok()?;
        Some(self.or_all(Some(change)))
    }

    fn or_all(&mut self, change: Option<Change>) -> Change {
        match change {
            None => Change::Ended,
            Some(Change::Ended) => Change::Ended,
            Some(_) if self.lost.swap(false, Ordering::Relaxed) => Change::All,
            Some(change) => change,
        }
    }

    /// Asks one command about each key, with these numbers after it; an answer may be that it was refused.
    ///
    /// # Errors
    /// No answer in time, or a connection that broke.
    pub(in crate::runtime) async fn ask(
        &self,
        command: &str,
        keys: &[&[u8]],
        numbers: &[u64],
    ) -> Result<Vec<Result<Value, StoreError>>, StoreError> {
        let mut answers = Vec::with_capacity(keys.len());
        match self.asked.clone() {
            Link::One(mut link) => {
                for some in keys.chunks(ASKED_AT_ONCE) {
                    let mut all = redis::pipe();
                    for key in some {
                        all.cmd(command).arg(*key).arg(numbers);
                    }
                    let values = within(ANSWER_TIMEOUT, link.req_packed_commands(&all, 0, some.len())).await?;
                    let said = |value: Value| value.extract_error().map_err(|error| StoreError::from(&error));
                    answers.extend(values.into_iter().map(said));
                }
            }
            // Each where it is.
            Link::Cluster(mut link) => {
                for key in keys {
                    let mut asked = redis::cmd(command);
                    asked.arg(*key).arg(numbers);
                    answers.push(match within(ANSWER_TIMEOUT, link.req_packed_command(&asked)).await {
                        Err(error) if error.is_of_the_connection() => return Err(error),
                        said => said,
                    });
                }
            }
        }
        Ok(answers)
    }

    /// Whether every primary still answers: all that it had to tell until now has come then.
    ///
    /// # Errors
    /// One does not.
    pub(in crate::runtime) async fn confirm(&self) -> Result<(), StoreError> {
        for primary in &self.primaries {
            let mut connection = primary.connection.clone();
            let pong = redis::cmd("PING").exec_async(&mut connection).await;
            pong.map_err(|error| StoreError::from(&error))?;
        }
        Ok(())
    }

    /// Whether these are still all primaries.
    ///
    /// # Errors
    /// No node of the Cluster answers.
    pub(in crate::runtime) async fn is_whole(&self, servers: &Servers) -> Result<bool, StoreError> {
        if !matches!(servers, Servers::Cluster(_)) {
            return Ok(true);
        }
        let now = within(CONNECT_TIMEOUT, primaries_of(servers)).await?;
        let now: BTreeSet<String> = now.iter().map(|info| info.addr().to_string()).collect();
        let own: BTreeSet<String> = self
            .primaries
            .iter()
            .map(|primary| primary.address.to_string())
            .collect();
        Ok(now == own)
    }

    /// How many primaries there are.
    pub(in crate::runtime) fn primaries(&self) -> usize {
        self.primaries.len()
    }

    /// Some of one primary's keys with this prefix, and where to go on; 0: that was all.
    ///
    /// # Errors
    /// It does not answer.
    pub(in crate::runtime) async fn scan(
        &self,
        primary: usize,
        prefix: &str,
        cursor: u64,
    ) -> Result<(u64, Vec<Vec<u8>>), StoreError> {
        let Some(primary) = self.primaries.get(primary) else {
            return Ok((0, Vec::new()));
        };
        let mut connection = primary.connection.clone();
        let mut command = redis::cmd("SCAN");
        command.arg(cursor).arg("MATCH").arg(format!("{}*", literally(prefix)));
        command.arg("COUNT").arg(SCANNED_AT_ONCE);
        let answer = command.query_async(&mut connection).await;
        answer.map_err(|error| StoreError::from(&error))
    }
}

/// A pattern of Redis's that fits this text only.
fn literally(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for character in text.chars() {
        if matches!(character, '*' | '?' | '[' | ']' | '^' | '\\') {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern
}

fn change(push: PushInfo) -> Option<Change> {
    match push.kind {
        PushKind::Invalidate => match push.data.into_iter().next() {
            Some(Value::Array(keys)) => {
                let keys: RedisResult<Vec<Vec<u8>>> = keys.into_iter().map(|key| Ok(from_redis_value(key)?)).collect();
                Some(keys.map_or(Change::All, Change::Keys))
            }
            // FLUSHALL, FLUSHDB.
            _all => Some(Change::All),
        },
        PushKind::Disconnection => Some(Change::Ended),
        _another => None,
    }
}

/// Who has keys now.
async fn primaries_of(servers: &Servers) -> RedisResult<Vec<ConnectionInfo>> {
    match servers {
        Servers::One(server) => Ok(vec![server.clone()]),
        Servers::Sentinel {
            sentinels,
            service,
            node,
        } => {
            let kind = SentinelServerType::Master;
            let mut client = SentinelClient::build(sentinels.clone(), service, Some(node.clone()), kind)?;
            Ok(vec![client.async_get_client().await?.get_connection_info().clone()])
        }
        Servers::Cluster(nodes) => {
            let mut failed = RedisError::from((ErrorKind::ClusterConnectionNotFound, "no node of the Cluster answers"));
            for node in nodes {
                match primaries_by(node).await {
                    Ok(primaries) => return Ok(primaries),
                    Err(error) => failed = error,
                }
            }
            Err(failed)
        }
    }
}

/// The primaries of a Cluster, as one of its nodes knows them.
async fn primaries_by(node: &ConnectionInfo) -> RedisResult<Vec<ConnectionInfo>> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(ANSWER_TIMEOUT))
        .set_response_timeout(Some(ANSWER_TIMEOUT));
    let client = Client::open(node.clone())?;
    let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
    // Each: first slot, last slot, the primary (host, port, …), its replicas.
    let slots: Vec<Vec<Value>> = redis::cmd("CLUSTER").arg("SLOTS").query_async(&mut connection).await?;
    let mut primaries: Vec<ConnectionInfo> = Vec::new();
    for range in slots {
        let Some(Value::Array(primary)) = range.into_iter().nth(2) else {
            continue;
        };
        let mut parts = primary.into_iter();
        let (Some(host), Some(port)) = (parts.next(), parts.next()) else {
            continue;
        };
        // No host: the one that was asked.
        let host: Option<String> = from_redis_value(host)?;
        let address = elsewhere(
            node.addr(),
            host.filter(|host| !host.is_empty()),
            from_redis_value(port)?,
        );
        if primaries.iter().all(|known| *known.addr() != address) {
            primaries.push(node.clone().set_addr(address));
        }
    }
    Ok(primaries)
}

/// The same kind of address, of another node.
fn elsewhere(address: &ConnectionAddr, other: Option<String>, other_port: u16) -> ConnectionAddr {
    let mut address = address.clone();
    if let ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } = &mut address {
        if let Some(other) = other {
            *host = other;
        }
        *port = other_port;
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_looked_for_as_it_is_written() {
        assert_eq!(literally("gateway:revoked:jti:"), "gateway:revoked:jti:");
        assert_eq!(literally("a*[b]?\\^"), "a\\*\\[b\\]\\?\\\\\\^");
    }
}
