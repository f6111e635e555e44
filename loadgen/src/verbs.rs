//! What each verb of the command line does.

use serde_json::json;

use crate::alone;
use crate::compare::{self, Set};
use crate::error::Error;
use crate::expect::Expectations;
use crate::find_max::{self, Search};
use crate::guard;
use crate::idle;
use crate::options::{self, Compare, FindMax, Format, Load, Role, Verb};
use crate::output;
use crate::peer;
use crate::plan::{Plan, Scenario};
use crate::progress::Progress;
use crate::report::Report;
use crate::run;
use crate::system::{self, System};
use crate::units::{Unit, short, time};

/// A run must reach this share of the rate that it is for, or it does not hold it.
const REACHED: f64 = 0.95;

/// Answers whether everything was as it should be.
pub(crate) fn act(systems: &[&dyn System]) -> Result<bool, Error> {
    let options = options::parse(systems);
    let (scenario, load) = match &options.verb {
        Verb::Throughput(load) => (Scenario::Throughput, load),
        Verb::Latency(load) => (Scenario::Latency, load),
        Verb::FanOut(load) => (Scenario::FanOut, load),
        Verb::PingPong(load) => (Scenario::PingPong, load),
        Verb::Topics(load) => (Scenario::Topics, load),
        Verb::Publishers(load) => (Scenario::Publishers, load),
        Verb::Mixed(load) => (Scenario::Mixed, load),
        Verb::Slow(load) => (Scenario::Slow, load),
        Verb::Churn(load) => (Scenario::Churn, load),
        Verb::Storm(load) => (Scenario::Storm, load),
        Verb::Idle(load) => (Scenario::Idle, load),
        Verb::FindMax(find) => return find_max(systems, find),
        Verb::Compare(compare) => return compare_sets(compare),
        Verb::Peer => return peer::run(systems).map(|()| true),
        Verb::Guard { pin, command } => return guard::run(pin, command),
    };
    // Wrong expectations are told before anything runs.
    let expected = load.output.expectations()?;
    let system = system::find(systems, load.attach.as_deref())?;
    let plan = load.plan(scenario, system)?;
    let mut report = make(system, &plan, load)?;
    report.weigh(&expected);
    output::put(&report, &load.output)?;
    if load.output.format == Format::Json {
        let broken = report.expectations.iter().filter(|each| !each.holds);
        broken.for_each(|each| eprintln!("{}: {}", options::program(), each.say()));
    }
    Ok(report.is_good())
}

fn make(system: &dyn System, plan: &Plan, load: &Load) -> Result<Report, Error> {
    let place = load.place();
    match (plan.scenario, load.at.role) {
        (Scenario::Idle, _) => idle::run(system, plan, &place),
        (_, Role::Both) => {
            let progress = Progress::new(load.output.progress);
            run::run(system, plan, &place, progress)
        }
        (_, Role::Publish) => alone::publish(system, plan, &place),
        (_, Role::Subscribe) => alone::subscribe(system, plan, &place),
    }
}

fn compare_sets(compare: &Compare) -> Result<bool, Error> {
    let bounds = compare::bounds(&compare.expect)?;
    let (a, b) = (Set::read(&compare.a)?, Set::read(&compare.b)?);
    let (text, holds) = compare::compare(&a, &b, &bounds);
    print!("{text}");
    Ok(holds)
}

fn find_max(systems: &[&dyn System], find: &FindMax) -> Result<bool, Error> {
    let load = &find.load;
    if load.at.role != Role::Both || load.rate.is_some() {
        let remedy = "find-max starts both sides and chooses the rate: leave out --role and --rate";
        return Err(Error::Usage(remedy.to_owned()));
    }
    let wrong = |name: &'static str| move |why: String| Error::Usage(format!("--{name}: {why}"));
    let loss = Unit::Share.parse(&find.loss).map_err(wrong("loss"))?;
    let p99 = find.p99.as_deref().map(|text| Unit::Time.parse(text));
    let p99 = p99.transpose().map_err(wrong("p99"))?;
    let precision = Unit::Share.parse(&find.precision);
    let precision = precision.map_err(wrong("precision"))?;
    if find.factor <= 1.0 || precision <= 0.0 {
        let told = "--factor is above 1 and --precision above 0, or the search never ends";
        return Err(Error::Usage(told.to_owned()));
    }
    let system = system::find(systems, load.attach.as_deref())?;
    let plan = load.plan(Scenario::Latency, system)?;
    let mut bounds = vec![format!("loss={}", loss.max(0.0))];
    bounds.extend(p99.map(|ns| format!("p99={ns}ns")));
    bounds.extend(load.output.expect.iter().cloned());
    let expected = Expectations::parse(&bounds)?;
    let is_text = load.output.format == Format::Text;
    let (mut steps, mut last) = (Vec::new(), None);
    let mut trial = |rate: f64, what: &str| {
        let plan = Plan {
            rate: Some(rate),
            ..plan.clone()
        };
        let progress = Progress::new(load.output.progress);
        let mut report = run::run(system, &plan, &load.place(), progress)?;
        report.weigh(&expected);
        let (line, holds) = step(&report, rate);
        if is_text {
            println!("{what:<8} {line}");
        }
        steps.push(json!({ "rate": rate, "what": what, "holds": holds, "told": line }));
        if what == "again" {
            last = Some(report);
        }
        Ok(holds)
    };
    let search = Search {
        start: find.start,
        factor: find.factor,
        precision,
    };
    let found = search.run(&mut trial)?;
    if is_text {
        println!("{}", find_max::conclusion(found));
    } else {
        println!("{}", json!({ "rate": found, "steps": steps }));
    }
    if let Some(report) = last {
        output::files(&report, &load.output)?;
    }
    Ok(found.is_some())
}

/// What one run of the search showed, and whether it held.
fn step(report: &Report, rate: f64) -> (String, bool) {
    let reached = report.window.map_or(0.0, |window| window.rate) / report.subscribers as f64;
    let p99 = report.received.map_or(0, |received| received.latency.p99);
    let is_reached = reached >= rate * REACHED;
    let mut why: Vec<String> = report.faults.clone();
    let broken = report.expectations.iter().filter(|each| !each.holds);
    why.extend(broken.map(|each| each.say()));
    if !is_reached {
        why.push("the rate was not reached".to_owned());
    }
    let holds = why.is_empty();
    let verdict = if holds {
        "holds".to_owned()
    } else {
        format!("fails: {}", why.join("; "))
    };
    let line = format!(
        "{:>9}/s wanted, {:>9}/s received, p99 {:>9}, lost {}: {verdict}",
        short(rate),
        short(reached),
        time(p99 as f64),
        report.lost.unwrap_or(0)
    );
    (line, holds)
}
