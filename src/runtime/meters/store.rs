//! Counts that gateways share: kept by the store, judged there by one script and one clock. While the store is away each limit says
//! what happens. Depends on `policy::limit` for the numbers.

use std::sync::{Arc, LazyLock};

use redis::cluster_routing::Slot;
use redis::{RedisResult, Script};
use smallvec::{SmallVec, smallvec};

use crate::config::model::OnStoreError;
use crate::policy::limit::{Answer, Ask, BucketKey, Charge, Grant, Left, Measure, Place, Wait, Window};
use crate::runtime::store::{Link, Store, StoreError};

use super::Meters;

static SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("store.lua")));

/// Ticks of a microsecond, as the script counts.
const TICKS: u64 = 1024;

/// Numbers of each ask in the script's answer, after the time.
const NUMBERS: usize = 4;

/// A limit's share in the store.
#[derive(Debug)]
pub(super) struct Shared {
    store: Arc<Store>,
    on_error: OnStoreError,
    /// What its keys begin with.
    prefix: String,
}

impl Shared {
    /// `meaning`: counts of another meaning have other keys.
    pub(super) fn new(store: Arc<Store>, on_error: OnStoreError, name: &str, meaning: u128) -> Self {
        let prefix = store.key(&format!("limit:{name}:{meaning:032x}:"));
        Self {
            store,
            on_error,
            prefix,
        }
    }

    /// Whether it counts in this store.
    pub(super) fn is_in(&self, store: Option<&Arc<Store>>) -> bool {
        store.is_some_and(|store| Arc::ptr_eq(&self.store, store))
    }

    /// One caller's keys are in one slot of a Cluster, whichever limits they are of.
    fn key(&self, bucket: BucketKey) -> String {
        format!("{}{{{:032x}}}", self.prefix, bucket.0)
    }

    /// Does something to one count, sometime soon: nobody waits for it, and a store that is away has forgotten it anyway.
    pub(super) fn later(&self, operation: &'static str, charge: &Charge, measure: &Measure, units: u64) {
        let Some(numbers) = numbers(measure) else { return };
        let Some(link) = self.store.link() else { return };
        let mut call = Call::new(operation, None);
        call.keys.push((self.key(charge.key), numbers, units));
        self.store.spawn(async move {
            // The keeper notices what is wrong with the store.
            let _: RedisResult<Vec<i64>> = call.make(link).await;
        });
    }
}

/// A kind of measure and its numbers, for the script.
type Numbers = (&'static str, [u64; 3]);

/// `None`: it is not counted in stores.
fn numbers(measure: &Measure) -> Option<Numbers> {
    match measure {
        Measure::Gcra(quota) => {
            let window = (quota.window_ns() / 1000).saturating_mul(TICKS);
            // Rounded up: never a unit more than the rate.
            let interval = window.div_ceil(u64::from(quota.count.max(1)));
            Some(("gcra", [interval, interval.saturating_mul(quota.burst.into()), 0]))
        }
        Measure::SlidingWindow(quota) => {
            let step = (Window::step_ns(quota) / 1000).max(1);
            Some(("window", [quota.window_ns() / 1000, quota.count.into(), step]))
        }
        Measure::Concurrent(_) => None,
    }
}

/// A call of the script, for keys of one slot.
struct Call {
    operation: &'static str,
    slot: Option<Slot>,
    keys: Vec<(String, Numbers, u64)>,
    /// The places of their asks.
    places: SmallVec<[usize; 2]>,
}

impl Call {
    const fn new(operation: &'static str, slot: Option<Slot>) -> Self {
        Self {
            operation,
            slot,
            keys: Vec::new(),
            places: SmallVec::new_const(),
        }
    }

    async fn make(&self, mut link: Link) -> RedisResult<Vec<i64>> {
        let mut invocation = SCRIPT.prepare_invoke();
        invocation.arg(self.operation);
        for (key, (kind, numbers), units) in &self.keys {
            invocation.key(key).arg(*kind).arg(numbers).arg(*units);
        }
        invocation.invoke_async(&mut link).await
    }
}

impl Meters {
    /// Asks limits that gateways share: one round trip for all of them. In a Cluster one script runs in each slot, all at once; a
    /// request that is refused in one may then be counted in another.
    pub async fn admit_shared(&self, asks: &[Ask<'_>], now_ns: u64) -> Answer {
        let answer = match self.ask_store(asks).await {
            Ok(answer) => answer,
            Err(_counted_by_the_store) => self.without_store(asks, now_ns),
        };
        self.count(asks, &answer);
        answer
    }

    fn shared(&self, ask: &Ask<'_>) -> Option<&Shared> {
        self.of(ask.limit.id)?.shared.as_ref()
    }

    async fn ask_store(&self, asks: &[Ask<'_>]) -> Result<Answer, StoreError> {
        let mut calls: SmallVec<[Call; 1]> = SmallVec::new();
        let mut store = None;
        for (place, ask) in asks.iter().enumerate() {
            let (Some(shared), Some(numbers)) = (self.shared(ask), numbers(&ask.plan.measure)) else {
                return Err(StoreError::Away);
            };
            let key = shared.key(ask.key);
            let slot = shared.store.is_cluster().then(|| Slot::for_key(&key));
            let at = calls.iter().position(|call| call.slot == slot).unwrap_or_else(|| {
                calls.push(Call::new("admit", slot));
                calls.len() - 1
            });
            if let Some(call) = calls.get_mut(at) {
                call.keys.push((key, numbers, ask.cost().into()));
                call.places.push(place);
            }
            store = Some(&shared.store);
        }
        let Some(store) = store else {
            return Ok(Ok(SmallVec::new()));
        };
        let said = store.with(|link| all(link, calls)).await?;
        answer(asks, &said).ok_or_else(|| StoreError::Broken("the script's answer makes no sense".to_owned()))
    }

    /// What each limit says while the store is away; all or none as ever.
    fn without_store(&self, asks: &[Ask<'_>], now_ns: u64) -> Answer {
        let on_error = |ask: &Ask<'_>| self.shared(ask).map_or(OnStoreError::Deny, |shared| shared.on_error);
        let of = |wanted| asks.iter().enumerate().filter(move |(_, ask)| on_error(ask) == wanted);
        let denied: SmallVec<_> = of(OnStoreError::Deny)
            .map(|(place, _)| (place, Wait::UNKNOWN))
            .collect();
        if !denied.is_empty() {
            return Err(denied);
        }
        let places: SmallVec<[usize; 2]> = of(OnStoreError::Local).map(|(place, _)| place).collect();
        let own: SmallVec<[Ask<'_>; 2]> = of(OnStoreError::Local).map(|(_, ask)| *ask).collect();
        let counted = self.judge(&own, now_ns).map_err(|refusals| {
            let place = |(own, wait): (usize, Wait)| Some((*places.get(own)?, wait));
            refusals.into_iter().filter_map(place).collect::<SmallVec<_>>()
        })?;
        let mut counted = counted.into_iter();
        let grant = |ask: &Ask<'_>| match on_error(ask) {
            OnStoreError::Local => counted.next(),
            OnStoreError::Allow | OnStoreError::Deny => Some(uncounted(ask, now_ns)),
        };
        Ok(asks.iter().filter_map(grant).collect())
    }
}

/// Each call with its answer.
type Said = SmallVec<[(Call, Vec<i64>); 1]>;

/// Makes all calls at once.
async fn all(link: Link, calls: SmallVec<[Call; 1]>) -> RedisResult<Said> {
    let mut said = Said::new();
    if calls.len() == 1 {
        for call in calls {
            let numbers = call.make(link.clone()).await?;
            said.push((call, numbers));
        }
        return Ok(said);
    }
    let asked = calls.into_iter().map(|call| {
        let link = link.clone();
        tokio::spawn(async move { (call.make(link).await, call) })
    });
    for asked in asked.collect::<Vec<_>>() {
        let (numbers, call) = asked.await.map_err(std::io::Error::other)?;
        said.push((call, numbers?));
    }
    Ok(said)
}

/// The answer to all asks; `None`: it makes no sense.
fn answer(asks: &[Ask<'_>], said: &Said) -> Option<Answer> {
    let mut grants: SmallVec<[Option<Grant>; 2]> = smallvec![None; asks.len()];
    let mut refusals = SmallVec::new();
    for (call, numbers) in said {
        let (_time, numbers) = numbers.split_first()?;
        for (place, numbers) in call.places.iter().zip(numbers.chunks_exact(NUMBERS)) {
            let ask = asks.get(*place)?;
            let [yes, state, more, at] = numbers else { return None };
            let ns = |us: &i64| u64::try_from(*us).ok()?.checked_mul(1000);
            if *yes == 0 {
                refusals.push((*place, Wait(ns(state)?)));
                continue;
            }
            let left = match &ask.plan.measure {
                Measure::Gcra(quota) => quota.left(ns(state)?),
                Measure::SlidingWindow(quota) => Window::left(quota, u64::try_from(*state).ok()?, ns(more)?),
                Measure::Concurrent(_) => return None,
            };
            *grants.get_mut(*place)? = Some(granted(ask, Place::Store, ns(at)?, left));
        }
    }
    if !refusals.is_empty() {
        refusals.sort_by_key(|(place, _)| *place);
        return Some(Err(refusals));
    }
    grants.into_iter().collect::<Option<_>>().map(Ok)
}

fn granted(ask: &Ask<'_>, place: Place, at_ns: u64, left: Left) -> Grant {
    let charge = Charge {
        limit: ask.limit.id,
        key: ask.key,
        at_ns,
        place,
    };
    Grant { charge, left }
}

/// Let pass without being counted: as if nothing had been taken yet.
fn uncounted(ask: &Ask<'_>, now_ns: u64) -> Grant {
    let nothing = Left {
        remaining: 0,
        window_s: None,
    };
    let left = ask.plan.measure.unused(0, now_ns).unwrap_or(nothing);
    granted(ask, Place::Nowhere, now_ns, left)
}
