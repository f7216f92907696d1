//! `[redis]` as what is connected to: one server, the master that Sentinels name, or a Cluster.

use std::sync::Arc;
use std::time::Duration;

use redis::sentinel::SentinelNodeConnectionInfo;
use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo, ProtocolVersion, RedisConnectionInfo, TlsMode};

use crate::config::Problems;
use crate::config::model::Redis;
use crate::config::secret::Secret;

/// Where Redis's Sentinels listen unless the URL says otherwise.
const SENTINEL_PORT: u16 = 26379;

/// What a URL may be; it is never shown itself, for it may hold a password.
const URL_FORMS: &str = "expected redis://[USER:PASSWORD@]HOST[:PORT][/DB], rediss:// for TLS, unix:/PATH, \
     redis+sentinel://HOST[:PORT],…/SERVICE[/DB] or redis+cluster://HOST[:PORT],… (rediss+… for TLS)";

/// The shared store. Equal specs keep their connection across a reload.
#[derive(Debug, Clone)]
pub struct StoreSpec {
    url: Secret,
    /// What every key of ours begins with.
    key_prefix: Arc<str>,
    /// Of one question, from asking to the answer.
    pub timeout: Duration,
    /// What is connected to.
    pub servers: Servers,
}

impl StoreSpec {
    /// The whole key of what we call `name`.
    #[must_use]
    pub fn key(&self, name: &str) -> String {
        format!("{}{name}", self.key_prefix)
    }
}

impl PartialEq for StoreSpec {
    fn eq(&self, other: &Self) -> bool {
        // The servers are what the URL says.
        (&self.url, &self.key_prefix, self.timeout) == (&other.url, &other.key_prefix, other.timeout)
    }
}

/// What is connected to. Every connection speaks RESP3, so that it can be told of changes.
#[derive(Debug, Clone)]
pub enum Servers {
    /// One server.
    One(ConnectionInfo),
    /// The master of a service, as its Sentinels say.
    Sentinel {
        /// Who is asked.
        sentinels: Vec<ConnectionInfo>,
        /// The master's name.
        service: String,
        /// How the master is spoken to.
        node: SentinelNodeConnectionInfo,
    },
    /// A Cluster, and some nodes of it to begin with.
    Cluster(Vec<ConnectionInfo>),
}

/// `[redis]`, if the config has it.
pub(super) fn store(redis: Option<&Redis>, problems: &mut Problems) -> Option<StoreSpec> {
    let redis = redis?;
    let Some(servers) = servers(redis.url.expose()) else {
        problems.at("redis.url", URL_FORMS);
        return None;
    };
    Some(StoreSpec {
        url: redis.url.clone(),
        key_prefix: Arc::from(redis.key_prefix.as_str()),
        timeout: redis.timeout,
        servers,
    })
}

fn servers(url: &str) -> Option<Servers> {
    let (scheme, rest) = url.split_once(':')?;
    let plain = if scheme.starts_with("rediss") {
        "rediss"
    } else {
        "redis"
    };
    match scheme {
        "redis" | "rediss" | "unix" => one(url).map(Servers::One),
        "redis+cluster" | "rediss+cluster" => {
            let (nodes, path) = hosts(plain, rest, None)?;
            // A Cluster has one database.
            path.is_empty().then_some(Servers::Cluster(nodes))
        }
        "redis+sentinel" | "rediss+sentinel" => {
            let (nodes, path) = hosts(plain, rest, Some(SENTINEL_PORT))?;
            let (service, db) = path.split_once('/').unwrap_or((path, "0"));
            let redis = nodes.first()?.redis_settings().clone().set_db(db.parse().ok()?);
            let mut node = SentinelNodeConnectionInfo::default().set_redis_connection_info(redis);
            if plain == "rediss" {
                node = node.set_tls_mode(TlsMode::Secure);
            }
            // Who may read the data is the servers' own matter; Sentinels are asked one question, without credentials.
            let sentinels = nodes
                .into_iter()
                .map(|node| node.set_redis_settings(RedisConnectionInfo::default()));
            (!service.is_empty()).then(|| Servers::Sentinel {
                sentinels: sentinels.collect(),
                service: service.to_owned(),
                node,
            })
        }
        _another => None,
    }
}

/// Each of `//USER:PASSWORD@HOST,HOST/PATH`, with the same credentials; and the path.
fn hosts<'u>(scheme: &str, rest: &'u str, port: Option<u16>) -> Option<(Vec<ConnectionInfo>, &'u str)> {
    let rest = rest.strip_prefix("//")?;
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (credentials, hosts) = match authority.rsplit_once('@') {
        Some((credentials, hosts)) => (format!("{credentials}@"), hosts),
        None => (String::new(), authority),
    };
    let node = |host: &str| {
        let has_port = host.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'));
        let port = port
            .filter(|_| !has_port)
            .map_or_else(String::new, |port| format!(":{port}"));
        one(&format!("{scheme}://{credentials}{host}{port}"))
    };
    let nodes: Option<Vec<ConnectionInfo>> = hosts.split(',').map(node).collect();
    Some((nodes?, path.trim_end_matches('/')))
}

fn one(url: &str) -> Option<ConnectionInfo> {
    // `#insecure` would mean TLS without looking at certificates.
    if url.contains('#') {
        return None;
    }
    let info = url.into_connection_info().ok()?;
    if let ConnectionAddr::Tcp(host, _) | ConnectionAddr::TcpTls { host, .. } = info.addr()
        && host.is_empty()
    {
        return None;
    }
    let settings = info.redis_settings().clone();
    let settings = settings
        .set_protocol(ProtocolVersion::RESP3)
        .set_lib_name("gateway", env!("CARGO_PKG_VERSION"));
    Some(info.set_redis_settings(settings))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;

    fn addresses(nodes: &[ConnectionInfo]) -> Vec<String> {
        nodes.iter().map(|node| node.addr().to_string()).collect()
    }

    #[test]
    fn one_server_is_named_as_its_own_clients_name_it() {
        for (url, address, db, user, password) in [
            ("redis://redis", "redis:6379", 0, None, None),
            ("redis://10.0.0.1:7000/3", "10.0.0.1:7000", 3, None, None),
            ("redis://:p%40ss@[::1]:7000", "::1:7000", 0, None, Some("p@ss")),
            (
                "rediss://me:secret@r.example",
                "r.example:6379",
                0,
                Some("me"),
                Some("secret"),
            ),
            ("unix:/run/redis.sock", "/run/redis.sock", 0, None, None),
            (
                "unix:///run/redis.sock?db=2&pass=x",
                "/run/redis.sock",
                2,
                None,
                Some("x"),
            ),
        ] {
            let Some(Servers::One(info)) = servers(url) else {
                panic!("{url}")
            };
            let settings = info.redis_settings();
            let is = (
                info.addr().to_string(),
                settings.db(),
                settings.username(),
                settings.password(),
            );
            assert_eq!(is, (address.to_owned(), db, user, password), "{url}");
            assert_eq!(settings.protocol(), ProtocolVersion::RESP3);
            assert_eq!(
                matches!(info.addr(), ConnectionAddr::TcpTls { .. }),
                url.starts_with("rediss")
            );
        }
    }

    #[test]
    fn sentinels_and_cluster_nodes_are_lists() {
        let Some(Servers::Sentinel {
            sentinels,
            service,
            node,
        }) = servers("redis+sentinel://:pw@a,b:9,[::1]/main/2")
        else {
            panic!("no Sentinels")
        };
        assert_eq!(addresses(&sentinels), ["a:26379", "b:9", "::1:26379"]);
        assert!(sentinels.iter().all(|one| one.redis_settings().password().is_none()));
        assert_eq!(service, "main");
        let node = format!("{node:?}");
        assert!(
            node.contains("db: 2") && node.contains("<redacted>") && !node.contains("pw"),
            "{node}"
        );
        let Some(Servers::Cluster(nodes)) = servers("rediss+cluster://me:pw@a,b:7001") else {
            panic!("no Cluster")
        };
        assert_eq!(addresses(&nodes), ["a:6379", "b:7001"]);
        assert!(nodes.iter().all(|node| node.redis_settings().password() == Some("pw")));
        assert!(
            nodes
                .iter()
                .all(|node| matches!(node.addr(), ConnectionAddr::TcpTls { .. }))
        );
    }

    #[test]
    fn what_is_no_such_url_is_refused() {
        for url in [
            "",
            "redis",
            "redis://",
            "http://redis",
            "redis://h/x",
            "rediss://h#insecure",
            "redis+cluster://",
            "redis+cluster://h/1",
            "redis+sentinel://h",
            "redis+sentinel://h/",
            "redis+sentinel://h/main/x",
            "redis+sentinel://a,,b/main",
            "memcached+cluster://h",
        ] {
            assert!(servers(url).is_none(), "{url}");
        }
    }

    #[test]
    fn r12_a_spec_shows_no_password() {
        let redis = Redis {
            url: Secret::new("redis://me:hush@h".to_owned()),
            key_prefix: "gateway:".to_owned(),
            timeout: Duration::from_millis(50),
            record_key: None,
        };
        let spec = StoreSpec {
            servers: servers(redis.url.expose()).unwrap(),
            url: redis.url,
            key_prefix: Arc::from("gateway:"),
            timeout: redis.timeout,
        };
        assert!(!format!("{spec:?}").contains("hush"));
    }
}
