//! `prove services`: every service of the cloud's device plane does what it says, both ways, and bears what is wrong.
//!
//! In virtual time, one gateway with a modem against the simulated cloud. Methods are called well and badly, twice under one id, before
//! and after a restart and a reboot; settings are set, set wrongly and taken back; state, log lines and the serving cell arrive;
//! deployments are read and their packages reported, known and unknown ones; and services that refuse, or answer nonsense, cost neither the session nor a reading.

use std::time::Duration;

use fieldgate::board::LinkPhase;
use fieldgate::reading::Value as Reading;
use fieldgate_coap::Code;
use serde_json::{Value, json};

use super::{Common, Proof};
use crate::cloud::{CallOutcome, Fault, FaultKind};
use crate::gateway::Trouble;
use crate::world::{DEVICE, World, WorldOptions, in_virtual_time};

const S: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
/// What the cloud changes is in force within this.
const SOON: Duration = Duration::from_secs(10);
/// An answer is one message.
const ANSWER_BYTES: usize = 1024;

/// What the claim is told.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub(super) common: Common,
}

pub(super) fn prove(_: &Args) -> Result<Proof, Trouble> {
    in_virtual_time(run()).map_err(Trouble::system("make an event queue"))?
}

async fn run() -> Result<Proof, Trouble> {
    let options = WorldOptions {
        bus: false,
        golioth: "location_path = \"location\"".into(),
        tables: "[log]\ncloud = \"warn\"\n".into(),
        ..WorldOptions::default()
    };
    let world = World::start(&options).await?;
    world.pass(2 * MINUTE).await;
    let mut run = Run { proof: Proof::default(), world, options, calls: 0, longest: 0 };
    run.begins();
    run.questions().await?;
    run.firmware_log().await?;
    run.modem().await?;
    run = run.reboots().await?;
    run = run.settings().await?;
    run.state().await?;
    run.logs().await?;
    run.ota().await?;
    run.stream().await?;
    run.nonsense().await?;
    let Run { mut proof, world, calls, longest, .. } = run;
    let (requests, handshakes) = (world.requests(), world.handshakes());
    let limited = world.cloud(|cloud, _| cloud.counters().too_many_requests);
    proof.demand(limited == 0, || format!("the cloud's limit is kept ({limited} requests were over it)"));
    let outcome = world.finish().await?;
    proof.demand(outcome.acknowledged == outcome.accepted && outcome.problems.is_empty(), || {
        format!("nothing of all this costs a reading ({outcome:?})")
    });
    proof.figures = json!({
        "calls": calls, "longest_answer_bytes": longest, "requests": requests, "handshakes": handshakes,
        "readings": outcome.accepted,
    });
    Ok(proof)
}

/// Running version, wanted version, reason code.
type Reported = (Option<String>, Option<String>, u64);

struct Run {
    proof: Proof,
    world: World,
    options: WorldOptions,
    calls: u32,
    longest: usize,
}

impl Run {
    fn begins(&mut self) {
        let watched = self.world.cloud(|cloud, _| cloud.observations(DEVICE));
        self.proof.demand(watched == 4, || format!("four resources are observed ({watched} are)"));
    }

    /// Makes a call; its id.
    fn begin(&mut self, method: &str, params: &[Value]) -> Result<String, Trouble> {
        self.calls += 1;
        let id = self.world.cloud(|cloud, now| cloud.call(now, DEVICE, method, params));
        id.map_err(|error| Trouble::Surroundings(error.to_string()))
    }

    /// Calls and waits; code and detail, code -1 for no answer.
    async fn call(&mut self, method: &str, params: &[Value]) -> Result<(i64, Value), Trouble> {
        let id = self.begin(method, params)?;
        self.world.pass(SOON).await;
        Ok(self.answer(&id))
    }

    fn answer(&mut self, id: &str) -> (i64, Value) {
        let outcome = self.world.cloud(|cloud, _| cloud.call_outcome(id).cloned());
        match outcome {
            Some(CallOutcome::Answered { code, detail }) => {
                let detail = detail.unwrap_or(Value::Null);
                self.longest = self.longest.max(detail.to_string().len() + id.len());
                (code, detail)
            }
            _ => (-1, Value::Null),
        }
    }

    async fn expect(&mut self, method: &str, params: &[Value], code: i64) -> Result<Value, Trouble> {
        let (said, detail) = self.call(method, params).await?;
        self.proof.demand(said == code, || {
            format!("{method} {params:?} is answered with {code} ({said}: {detail})")
        });
        Ok(detail)
    }

    async fn questions(&mut self) -> Result<(), Trouble> {
        let status = self.expect("get_status", &[], 0).await?;
        let whole =
            ["version", "uptime_s", "queued", "log", "lanes"].iter().all(|key| status.get(key).is_some());
        self.proof.demand(whole, || format!("get_status says how the gateway does ({status})"));
        let network = self.expect("get_network_info", &[], 0).await?;
        self.proof
            .demand(network["registered"] == json!(true), || format!("get_network_info says it ({network})"));
        self.expect("make_coffee", &[], 5).await?;
        self.expect("get_status", &[json!(1)], 3).await?;
        self.expect("set_log_level", &[json!("loud")], 3).await?;
        self.expect("set_log_level", &[json!("debug"), json!(1)], 0).await?;
        let (longest, most) = (self.longest, ANSWER_BYTES);
        self.proof.demand(longest <= most, || format!("an answer is one message ({longest} bytes)"));
        let cells = self.world.cloud(|cloud, _| {
            cloud.messages(DEVICE).into_iter().flatten().filter(|m| m.path == "/location").count()
                + cloud.unmatched().iter().filter(|m| m.path == "/location").count()
        });
        self.proof.demand(cells == 1, || format!("the serving cell is told once ({cells} times)"));
        Ok(())
    }

    async fn firmware_log(&mut self) -> Result<(), Trouble> {
        let (mut cursor, mut rows, mut last) = (String::new(), 0_u64, String::new());
        for _ in 0..50 {
            let page = self.expect("get_firmware_log", &[json!(cursor), json!(true)], 0).await?;
            for row in page["rows"].as_array().into_iter().flatten() {
                rows += 1;
                let follows =
                    row["sequence"] == json!(rows) && (last.is_empty() || row["prev_hash"] == json!(last));
                self.proof.demand(follows, || format!("each row of the log follows the one before ({row})"));
                last = row["hash"].as_str().unwrap_or_default().to_owned();
            }
            cursor = page["next"].as_str().unwrap_or_default().to_owned();
            if page["more"] == json!(false) {
                break;
            }
        }
        let head = self.world.log_head();
        self.proof
            .demand(rows == head && rows > 0, || format!("all of the log is read ({rows} of {head} rows)"));
        self.expect("get_firmware_log", &[json!(cursor), json!(true)], 0).await?;
        let rest = self.expect("get_firmware_log", &[], 0).await?;
        let none = rest["rows"].as_array().is_some_and(Vec::is_empty);
        self.proof.demand(none, || format!("what was acknowledged is not given again ({rest})"));
        self.expect("get_firmware_log", &[json!("nonsense")], 3).await?;
        Ok(())
    }

    async fn modem(&mut self) -> Result<(), Trouble> {
        let said = self.expect("modem_at", &[json!("AT+CEREG?")], 0).await?;
        let answer = said["answer"].as_str().unwrap_or_default();
        self.proof.demand(answer.contains("+CEREG:"), || format!("the modem answers ({said})"));
        for refused in ["AT+CFUN=0", "AT+CIMI", "AT+CGSN=1", "AT%XICCID", "AT#XRESET", "hello"] {
            self.expect("modem_at", &[json!(refused)], 3).await?;
        }
        // One waits for the other: both are answered, and each with its own.
        let (first, second) =
            (self.begin("modem_at", &[json!("AT%XVBAT")])?, self.begin("modem_at", &[json!("AT+CEREG?")])?);
        self.world.pass(2 * SOON).await;
        for (id, own) in [(first, "%XVBAT"), (second, "+CEREG")] {
            let (code, said) = self.answer(&id);
            let right = code == 0 && said["answer"].as_str().is_some_and(|text| text.starts_with(own));
            self.proof.demand(right, || format!("commands from afar do not meet ({own}: {code} {said})"));
        }
        Ok(())
    }

    async fn reboots(mut self) -> Result<Self, Trouble> {
        self.world.hands().forbid(true);
        self.expect("reboot", &[], 9).await?;
        self.world.hands().forbid(false);
        let id = self.begin("reboot", &[])?;
        self.world.pass(SOON).await;
        let (code, said) = self.answer(&id);
        self.proof.demand(code == 0, || format!("a reboot is accepted, and answered first ({code} {said})"));
        self.repeat(&id, "reboot", 1).await?;
        self.expect("reboot", &[], 9).await?;
        self.world = self.world.reboot(&self.options).await?;
        self.world.pass(MINUTE).await;
        self.repeat(&id, "reboot", 1).await?;
        self.expect("reboot", &[], 9).await?;
        self.world.pass(11 * MINUTE).await;
        self.repeat(&id, "reboot", 1).await?;
        self.expect("reboot", &[], 0).await?;
        let reboots = self.world.hands().reboots();
        self.proof
            .demand(reboots == 2, || format!("after ten minutes it is rebooted again ({reboots} reboots)"));
        let id = self.begin("restart", &[])?;
        self.world.pass(SOON).await;
        self.world = self.world.restart(&self.options).await?;
        self.world.pass(MINUTE).await;
        self.repeat(&id, "restart", 2).await?;
        let restarts = self.world.hands().restarts();
        self.proof.demand(restarts == 1, || format!("a call is carried out once ({restarts} restarts)"));
        Ok(self)
    }

    /// Says a call again: nothing may come of it.
    async fn repeat(&mut self, id: &str, method: &str, reboots: u32) -> Result<(), Trouble> {
        let said = self.world.cloud(|cloud, now| cloud.repeat_call(now, DEVICE, id, method, &[]));
        said.map_err(|error| Trouble::Surroundings(error.to_string()))?;
        self.world.pass(SOON).await;
        let now = self.world.hands().reboots();
        self.proof.demand(now == reboots, || {
            format!("a call that is heard again is not carried out again ({now} reboots, not {reboots})")
        });
        Ok(())
    }

    async fn set(&mut self, key: &str, value: Value) -> Result<Vec<i64>, Trouble> {
        let done = self.world.cloud(|cloud, now| cloud.set_setting(now, key, value, None));
        done.map_err(|error| Trouble::Surroundings(error.to_string()))?;
        self.world.pass(SOON).await;
        Ok(self.world.cloud(|cloud, _| {
            let status = cloud.settings_status(DEVICE);
            status.map_or_else(|| vec![-1], |status| status.errors.iter().map(|error| error.code).collect())
        }))
    }

    /// Whether a reading that is taken now has left within a few seconds.
    async fn leaves_at_once(&mut self) -> Result<bool, Trouble> {
        self.world.take("q1", Reading::Steps(7)).await?;
        Ok(self.world.drained(SOON).await.is_ok())
    }

    async fn settings(mut self) -> Result<Self, Trouble> {
        let errors = self.set("UPLINK_LINGER", json!("10m")).await?;
        self.proof.demand(errors.is_empty(), || format!("a right setting is reported as such ({errors:?})"));
        let at_once = self.leaves_at_once().await?;
        self.proof.demand(!at_once, || "a setting is in force at once".to_owned());
        let said = self.expect("flush", &[], 0).await?;
        let gone = self.world.queued() == 0;
        self.proof.demand(gone, || format!("a flush sends what waits ({said})"));
        self.world.pass(2 * MINUTE).await;
        for (key, value, code) in [
            ("UPLINK_LINGER", json!("99h"), 4),
            ("UPLINK_LINGER", json!("soon"), 3),
            ("UPLINK_LINGER", json!("1".repeat(80)), 5),
            ("GOLIOTH_ENDPOINT", json!("elsewhere.example"), 1),
        ] {
            let errors = self.set(key, value.clone()).await?;
            self.proof.demand(errors.contains(&code), || {
                format!("{key} = {value} is refused with {code} ({errors:?})")
            });
        }
        self.world = self.world.restart(&self.options).await?;
        self.world.pass(MINUTE).await;
        let at_once = self.leaves_at_once().await?;
        self.proof
            .demand(!at_once, || "a setting is in force after wrong ones, and after a restart".to_owned());
        for key in ["UPLINK_LINGER", "GOLIOTH_ENDPOINT"] {
            self.world.cloud(|cloud, now| cloud.remove_setting(now, key));
        }
        self.world.pass(2 * SOON).await;
        let at_once = self.leaves_at_once().await?;
        self.proof.demand(at_once, || "a setting that is taken back is as configured again".to_owned());
        Ok(self)
    }

    fn reported(&self) -> Value {
        self.world
            .cloud(|cloud, _| cloud.state(DEVICE).map_or(Value::Null, |state| state["reported"].clone()))
    }

    async fn wish(&mut self, desired: Value) -> Result<(), Trouble> {
        let done = self.world.cloud(|cloud, now| cloud.set_state(now, DEVICE, "desired", desired));
        done.map_err(|error| Trouble::Surroundings(error.to_string()))?;
        self.world.pass(3 * MINUTE).await;
        Ok(())
    }

    async fn state(&mut self) -> Result<(), Trouble> {
        let reported = self.reported();
        let head = self.world.log_head();
        let right = reported["version"].is_string()
            && reported["components"].is_object()
            && reported["log"]["head"] == json!(head);
        self.proof.demand(right, || format!("the cloud knows the gateway's state ({reported})"));
        self.wish(json!({ "generation": "g-1" })).await?;
        let reported = self.reported();
        self.proof.demand(reported["generation"] == json!("g-1"), || {
            format!("what is wanted is read, and said to be ({reported})")
        });
        self.wish(json!({ "generation": null })).await?;
        let reported = self.reported();
        let gone = reported.get("generation").is_none() && reported["version"].is_string();
        self.proof.demand(gone, || format!("what is no more is deleted, and nothing else ({reported})"));
        // An idle gateway has nothing to say.
        let before = self.world.requests();
        self.world.pass(10 * MINUTE).await;
        let said = self.world.requests() - before;
        self.proof
            .demand(said <= 2, || format!("nothing is said where nothing has changed ({said} requests)"));
        Ok(())
    }

    async fn logs(&mut self) -> Result<(), Trouble> {
        let listening = self.world.log_here();
        tracing::callsite::rebuild_interest_cache();
        tracing::warn!(valve = 3, "a valve sticks");
        tracing::info!("nothing of note");
        self.world.pass(SOON).await;
        let lines = |world: &World| {
            world.cloud(|cloud, _| {
                cloud.logs().iter().map(|l| (l.level.clone(), l.message.clone())).collect::<Vec<_>>()
            })
        };
        let heard = lines(&self.world);
        self.proof.demand(
            heard.iter().any(|(level, text)| level == "WARN" && text == "a valve sticks valve=3"),
            || format!("a line of the log arrives as it was written ({heard:?})"),
        );
        let quiet = heard.iter().all(|(level, _)| level == "WARN" || level == "ERROR");
        self.proof.demand(quiet, || format!("lines less severe than configured stay here ({heard:?})"));
        // The cloud refuses lines, and each refusal is itself worth a line.
        let fault = self.world.cloud(|cloud, _| {
            let refuse = FaultKind::Answer { code: Code::SERVICE_UNAVAILABLE, max_age: Some(1) };
            cloud.set_fault(Fault::new(refuse).path(".s/logs"))
        });
        let before = self.world.requests();
        for _ in 0..600 {
            tracing::warn!(target: "fieldgate::clouds::golioth", "no answer");
            self.world.pass(S).await;
        }
        let said = self.world.requests() - before;
        self.proof.demand(said <= 30, || {
            format!("a storm of lines is one a minute ({said} requests in ten minutes)")
        });
        self.world.cloud(|cloud, _| cloud.clear_fault(fault));
        self.world.pass(2 * MINUTE).await;
        tracing::warn!("it is over");
        self.world.pass(2 * MINUTE).await;
        let told = lines(&self.world).iter().any(|(_, text)| text.contains("lines left out)"));
        self.proof.demand(told, || "lines that were left out are counted and told".to_owned());
        drop(listening);
        Ok(())
    }

    fn is_up(&self) -> bool {
        self.world.link().is_some_and(|link| link.phase == LinkPhase::Up)
    }

    /// Deploys a version; what was reported of the package since, as (running, wanted, reason).
    async fn deploys(&mut self, package: &str, version: &str) -> Result<Vec<Reported>, Trouble> {
        let before = self.world.cloud(|cloud, _| cloud.ota_events().len());
        let image = version.as_bytes().repeat(100);
        self.world
            .cloud(|cloud, now| cloud.deploy(now, &[DEVICE], package, version, image))
            .map_err(|error| Trouble::Surroundings(error.to_string()))?;
        self.world.pass(3 * SOON).await;
        Ok(self.world.cloud(|cloud, _| {
            let events = cloud.ota_events().iter().skip(before).filter(|event| event.package == package);
            events.map(|event| (event.version.clone(), event.target.clone(), event.reason)).collect()
        }))
    }

    async fn ota(&mut self) -> Result<(), Trouble> {
        let told = self.deploys("main", "9.9.7").await?;
        let right = told.iter().any(|(runs, wants, _)| runs.is_some() && wants.as_deref() == Some("9.9.7"));
        self.proof
            .demand(right, || format!("what is wanted of a package, and what runs, is reported ({told:?})"));
        let told = self.deploys("fan", "1.0.0").await?;
        let right = !told.is_empty() && told.iter().all(|(runs, _, reason)| runs.is_none() && *reason != 0);
        self.proof
            .demand(right, || format!("a package that nothing here runs is said to be unknown ({told:?})"));
        // The cloud does not take what is said of one package.
        let refuse = FaultKind::Answer { code: Code::NOT_FOUND, max_age: None };
        let fault = self.world.cloud(|cloud, _| cloud.set_fault(Fault::new(refuse).path(".u/c/fan")));
        let (told, before) = (self.deploys("fan", "1.0.1").await?, self.world.requests());
        self.proof.demand(told.is_empty(), || format!("a refused report is none ({told:?})"));
        let told = self.deploys("main", "9.9.8").await?;
        let right = told.iter().any(|(_, wants, _)| wants.as_deref() == Some("9.9.8"));
        self.proof.demand(right, || format!("a refused report keeps no other package's ({told:?})"));
        self.world.pass(30 * MINUTE).await;
        let asked = self.world.requests() - before;
        self.proof.demand(asked <= 30, || {
            format!("a refused report is not offered over and over ({asked} requests in half an hour)")
        });
        self.world.cloud(|cloud, _| cloud.clear_fault(fault));
        self.world.pass(21 * MINUTE).await;
        let up = self.is_up();
        self.proof.demand(up, || "a report that was refused once does not leave the link sick".to_owned());
        Ok(())
    }

    async fn stream(&mut self) -> Result<(), Trouble> {
        for (code, max_age, is_sick) in [
            (Code::TOO_MANY_REQUESTS, Some(30), false),
            (Code::SERVICE_UNAVAILABLE, Some(30), false),
            (Code::NOT_FOUND, None, true),
        ] {
            let refuse = FaultKind::Answer { code, max_age };
            let fault = self.world.cloud(|cloud, _| cloud.set_fault(Fault::new(refuse).path(".s/sensor")));
            let (before, requests) = (self.world.account("golioth").acknowledged, self.world.requests());
            self.world.take("q1", Reading::Steps(9)).await?;
            self.world.pass(2 * MINUTE).await;
            let acknowledged = self.world.account("golioth").acknowledged - before;
            let (asked, up) = (self.world.requests() - requests, self.is_up());
            self.proof.demand(acknowledged == 0 && asked <= 12, || {
                format!("a refused reading is kept and not sent over and over ({code}: {asked} requests)")
            });
            self.proof.demand(up != is_sick, || format!("{code} to readings is said as it is (up: {up})"));
            self.world.cloud(|cloud, _| cloud.clear_fault(fault));
            self.world.drained(61 * MINUTE).await?;
            let up = self.is_up();
            self.proof.demand(up, || format!("and over once they are taken again ({code})"));
        }
        Ok(())
    }

    /// Services that answer nonsense, or refuse.
    async fn nonsense(&mut self) -> Result<(), Trouble> {
        let before = self.world.handshakes();
        let faults: Vec<_> = [
            (".c", b"\xff\x00nonsense".to_vec()),
            (".rpc", b"\xa1\x62id".to_vec()),
            (".d/desired", b"{".to_vec()),
        ]
        .into_iter()
        .map(|(path, body)| {
            self.world.cloud(|cloud, _| cloud.set_fault(Fault::new(FaultKind::Body(body)).path(path)))
        })
        .collect();
        self.world.cloud(|cloud, _| cloud.restart());
        // A cloud that has forgotten the session is found out by its silence.
        self.world.take("q1", Reading::Steps(8)).await?;
        self.world.drained(5 * MINUTE).await?;
        let at_once = self.leaves_at_once().await?;
        self.proof.demand(at_once, || "readings leave at once while services answer nonsense".to_owned());
        let up = self.is_up();
        self.proof.demand(up, || "nonsense does not make the link sick".to_owned());
        for fault in faults {
            self.world.cloud(|cloud, _| cloud.clear_fault(fault));
        }
        self.expect("get_status", &[], 0).await?;
        let handshakes = self.world.handshakes() - before;
        self.proof
            .demand(handshakes <= 1, || format!("one handshake after the cloud's restart ({handshakes})"));
        Ok(())
    }
}
