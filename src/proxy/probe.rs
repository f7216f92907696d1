//! Active health checks, on the control runtime: each endpoint of an upstream with `health` is asked by itself, and taken out or
//! brought back once it has answered so several times in a row.

use std::sync::{Arc, Weak};
use std::time::Duration;

use http::{HeaderValue, Request, header};

use crate::config::model::Health;
use crate::protocol::exchange::Patience;
use crate::protocol::upstream::Outgoing;
use crate::runtime::gateway::{Gateway, Phase};
use crate::runtime::request_body::RequestBody;
use crate::runtime::upstream::{Endpoint, Upstream};

use super::dial::dial;
use super::send::Attempt;

/// Between looks at whether a reload brought upstreams.
const LOOK: Duration = Duration::from_millis(500);

/// Checks the upstreams of whatever config is in force, until the gateway ends.
pub async fn watch(gateway: Arc<Gateway>) {
    let mut watched: Vec<Weak<Upstream>> = Vec::new();
    let mut ended = std::pin::pin!(gateway.reached(Phase::Ended));
    loop {
        watched.retain(|upstream| upstream.strong_count() > 0);
        for upstream in &gateway.snapshot().upstreams {
            let known = watched.iter().any(|known| known.as_ptr() == Arc::as_ptr(upstream));
            if let (false, Some(health)) = (known, &upstream.spec.config.health) {
                watched.push(Arc::downgrade(upstream));
                for place in 0..upstream.endpoints.len() {
                    tokio::spawn(check(Arc::downgrade(upstream), place, gateway.workers, health.clone()));
                }
            }
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = &mut ended => return,
        }
    }
}

/// Checks one endpoint until its upstream is gone.
async fn check(upstream: Weak<Upstream>, place: usize, workers: usize, health: Health) {
    let mut tally = Tally::default();
    let mut turns = tokio::time::interval(health.interval);
    turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        turns.tick().await;
        let Some(upstream) = upstream.upgrade() else { return };
        let Some(endpoint) = upstream.endpoints.get(place) else {
            return;
        };
        let asked = tokio::time::timeout(health.timeout, is_well(&upstream, endpoint, workers, &health));
        if let Some(healthy) = tally.add(asked.await.unwrap_or_default(), &health) {
            endpoint.checked(healthy);
        }
    }
}

/// Answers in a row.
#[derive(Default)]
struct Tally {
    down: bool,
    /// That say otherwise than what is believed.
    contrary: u32,
}

impl Tally {
    /// What is believed from now on, if that has changed.
    fn add(&mut self, well: bool, health: &Health) -> Option<bool> {
        if well != self.down {
            self.contrary = 0;
            return None;
        }
        self.contrary += 1;
        let enough = if self.down {
            health.healthy_after
        } else {
            health.unhealthy_after
        };
        if self.contrary < enough {
            return None;
        }
        self.contrary = 0;
        self.down = !self.down;
        Some(!self.down)
    }
}

/// Whether it answers with 2xx or 3xx.
async fn is_well(upstream: &Upstream, endpoint: &Endpoint, workers: usize, health: &Health) -> bool {
    let request = Request::get(&health.path)
        .header(header::CONNECTION, HeaderValue::from_static("close"))
        .header(header::USER_AGENT, HeaderValue::from_static("gateway-health"))
        .body(());
    // HTTP/2 connections of the control runtime's own; of HTTP/1.1 a fresh one each time.
    let (Ok(request), Ok(connection)) = (request, dial(endpoint, workers, &upstream.spec).await) else {
        return false;
    };
    let (parts, ()) = request.into_parts();
    let attempt = Attempt {
        outgoing: Outgoing {
            head: &parts,
            spelling: None,
            host: Some(&endpoint.authority),
        },
        patience: Patience {
            body_idle: health.timeout,
            response: health.timeout,
        },
        secure: upstream.spec.tls.is_some(),
    };
    let answer = attempt.make(connection, RequestBody::Empty).await;
    answer.is_ok_and(|(head, _)| head.response.status().is_success() || head.response.status().is_redirection())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_answers_in_a_row_change_what_is_believed() {
        let health = Health {
            path: "/health".to_owned(),
            interval: Duration::ZERO,
            timeout: Duration::ZERO,
            unhealthy_after: 3,
            healthy_after: 2,
        };
        let mut tally = Tally::default();
        let mut told = |answers: &str| -> Vec<bool> {
            let answers = answers.chars().map(|answer| answer == '+');
            answers.filter_map(|well| tally.add(well, &health)).collect()
        };
        assert_eq!(told("--+--+"), [true; 0]);
        assert_eq!(told("---"), [false]);
        assert_eq!(told("-+-+-"), [true; 0]);
        assert_eq!(told("++"), [true]);
        assert_eq!(told("++--"), [true; 0]);
    }
}
