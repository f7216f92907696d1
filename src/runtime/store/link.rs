//! One connection to the store, whichever kind of store it is.

use std::fmt;
use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{RoutingInfo, SingleNodeRoutingInfo};
use redis::sentinel::{SentinelClient, SentinelServerType};
use redis::{AsyncConnectionConfig, Client, Cmd, Pipeline, RedisFuture, RedisResult, Value, from_redis_value};

use crate::compile::Servers;

use super::{StoreError, within};

/// For a connection with its greetings; requests do not wait for it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// A Cluster that moves slots says so; a question follows it so often.
const REDIRECTIONS: u32 = 3;

/// A connection that many can ask at once; clones share it.
#[derive(Clone)]
#[allow(missing_docs)]
pub enum Link {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Link {
    /// Connects.
    ///
    /// # Errors
    /// Nobody there, or nobody who lets us in.
    pub async fn open(servers: &Servers) -> Result<Self, StoreError> {
        within(CONNECT_TIMEOUT, Self::connect(servers)).await
    }

    pub(super) async fn connect(servers: &Servers) -> RedisResult<Self> {
        // Who asks has a timeout of their own.
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(None)
            .set_response_timeout(None);
        match servers {
            Servers::One(server) => {
                let client = Client::open(server.clone())?;
                let connection = client.get_multiplexed_async_connection_with_config(&config).await?;
                Ok(Self::One(connection))
            }
            Servers::Sentinel {
                sentinels,
                service,
                node,
            } => {
                let kind = SentinelServerType::Master;
                let mut client = SentinelClient::build(sentinels.clone(), service, Some(node.clone()), kind)?;
                let connection = client.get_async_connection_with_config(&config).await?;
                Ok(Self::One(connection))
            }
            Servers::Cluster(nodes) => {
                let client = redis::cluster::ClusterClient::builder(nodes.iter().cloned())
                    .retries(REDIRECTIONS)
                    .connection_timeout(CONNECT_TIMEOUT)
                    .build()?;
                Ok(Self::Cluster(client.get_async_connection().await?))
            }
        }
    }

    /// Whether somebody answers; of a Cluster, every primary, and they find it whole.
    ///
    /// # Errors
    /// Nobody, or not in time.
    pub async fn ping(&self, timeout: Duration) -> Result<(), StoreError> {
        let mut link = self.clone();
        within(timeout, redis::cmd("PING").exec_async(&mut link)).await?;
        if let Self::Cluster(connection) = &mut link {
            let mut info = redis::cmd("CLUSTER");
            info.arg("INFO");
            let anybody = RoutingInfo::SingleNode(SingleNodeRoutingInfo::Random);
            let info = within(timeout, connection.route_command(info, anybody)).await?;
            let info: String = from_redis_value(info).unwrap_or_default();
            if !info.contains("cluster_state:ok") {
                return Err(StoreError::Broken("the Cluster is not whole".to_owned()));
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::One(_) => "Link::One",
            Self::Cluster(_) => "Link::Cluster",
        })
    }
}

impl ConnectionLike for Link {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::One(connection) => connection.req_packed_command(command),
            Self::Cluster(connection) => connection.req_packed_command(command),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        commands: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::One(connection) => connection.req_packed_commands(commands, offset, count),
            Self::Cluster(connection) => connection.req_packed_commands(commands, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::One(connection) => connection.get_db(),
            Self::Cluster(connection) => connection.get_db(),
        }
    }
}
