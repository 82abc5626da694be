//! The loop on the store, beside raw conditional writes to the same store by the same client.

use std::time::{Duration, Instant};

use aws_sdk_dynamodb::{Client, primitives::Blob, types::AttributeValue};
use futures::{TryStreamExt as _, stream};
use windlass::{aws::clients::Clients, ids::RunId, run::advance::Engine};

use super::{
    BenchError, Size,
    figures::{Aim, Figure},
    rig::{STEP_BYTES, advance, engine, tables_only, take_on},
    unexpected,
    usage::processor_time,
};

const TABLE: &str = "windlass-runs";
const STEPS: usize = 100;
const RUNS: usize = 64;

/// What somebody did who had a thread of his own.
struct Took {
    span: Duration,
    processor: Duration,
}

/// Works on a thread of its own, as a function's process does, so that its processor time is told from the store's. What it
/// prepares is not measured.
fn apart<P, F, G>(
    prepare: impl FnOnce() -> F + Send + 'static,
    work: impl FnOnce(P) -> G + Send + 'static,
) -> Result<Took, BenchError>
where
    F: Future<Output = Result<P, BenchError>>,
    G: Future<Output = Result<(), BenchError>>,
{
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let prepared = prepare().await?;
            let (began, before) = (Instant::now(), processor_time("thread-self"));
            work(prepared).await?;
            Ok(Took { span: began.elapsed(), processor: processor_time("thread-self").saturating_sub(before) })
        })
    });
    thread.join().map_err(|_| unexpected("a measuring thread panicked"))?
}

pub(super) async fn measure(size: Size) -> Result<Vec<Figure>, BenchError> {
    let stack = tables_only().await?;
    let aws = stack.aws_url();
    let (runs, mut figures) = (size.of(RUNS), Vec::new());
    for at_once in [1, 16] {
        let (of_engine, of_raw) = {
            let (aws, aws_raw) = (aws.clone(), aws.clone());
            tokio::task::spawn_blocking(move || -> Result<(Took, Took), BenchError> {
                let raw = apart(
                    move || async move { raw_client(&aws_raw).await },
                    move |client| raw_writes(client, at_once, runs * STEPS),
                )?;
                let engine = apart(move || taken_on(aws, at_once, runs), move |ready| advances(ready, at_once))?;
                Ok((engine, raw))
            })
            .await
            .map_err(unexpected)??
        };
        let steps = (runs * STEPS) as f64;
        let workload = format!("engine, {runs} runs of {STEPS} steps, {at_once} at once");
        let rate = |took: &Took| steps / took.span.as_secs_f64();
        let (engine, raw) = (rate(&of_engine), rate(&of_raw));
        let ratio = Figure::new(&workload, "steps per raw conditional write", engine / raw, "");
        let processor = of_engine.processor.as_secs_f64() * 1e3 / steps;
        figures.extend([
            Figure::new(&workload, "steps", engine, "/s"),
            Figure::new(&workload, "raw conditional writes", raw, "/s"),
            if at_once == 16 { ratio.aim(Aim::AtLeast(0.8)) } else { ratio },
            Figure::new(&workload, "processor time of a step", processor, "ms").aim(Aim::AtMost(0.2)),
            Figure::new(&workload, "processor time of a raw write", of_raw.processor.as_secs_f64() * 1e3 / steps, "ms"),
        ]);
    }
    stack.shutdown().await;
    Ok(figures)
}

/// The loop, and runs for it.
async fn taken_on(aws: String, at_once: usize, runs: usize) -> Result<(Engine, Vec<RunId>), BenchError> {
    let engine = engine(&aws)?;
    let mut taken_on = Vec::with_capacity(runs);
    for number in 0..runs {
        taken_on.push(take_on(&engine, &format!("engine-{at_once}-{number}"), STEPS).await?);
    }
    Ok((engine, taken_on))
}

async fn advances((engine, runs): (Engine, Vec<RunId>), at_once: usize) -> Result<(), BenchError> {
    stream::iter(runs.into_iter().map(Ok)).try_for_each_concurrent(at_once, |run| advance(&engine, run)).await
}

/// A client that has connected.
async fn raw_client(aws: &str) -> Result<Client, BenchError> {
    let client = Clients::at(aws).dynamodb();
    client.describe_table().table_name(TABLE).send().await.map_err(unexpected)?;
    Ok(client)
}

async fn raw_writes(client: Client, at_once: usize, writes: usize) -> Result<(), BenchError> {
    let body = AttributeValue::B(Blob::new(vec![7; STEP_BYTES as usize]));
    let write = |number: usize| {
        let (client, body) = (client.clone(), body.clone());
        async move {
            let put = client
                .put_item()
                .table_name(TABLE)
                .item("pk", AttributeValue::S(format!("raw-{at_once}-{}", number / STEPS)))
                .item("sk", AttributeValue::S(format!("e#{:06}", number % STEPS)))
                .item("body", body)
                .condition_expression("attribute_not_exists(pk)");
            put.send().await.map(|_| ()).map_err(unexpected)
        }
    };
    stream::iter((0..writes).map(Ok)).try_for_each_concurrent(at_once, write).await
}
