//! `GET /runs/{id}` and `GET /runs/{id}/journal`.

use serde_json::Value;
use windlass::{
    ids::RunId,
    journal::{EntryPage, PAGE_ENTRIES_MAX},
    principal::Principal,
    run::{entry::Seq, snapshot::recall_and_save},
};
use windlass_http::{Kind, Problem, Reply, Request};

use crate::{
    Intake,
    access::visible,
    view::{Page, Shown, ShownEntry},
};

/// The most bytes of entries in one page, unless one entry alone has more. Lambda answers with at most 6 MB
/// (<https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>), and JSON within JSON grows.
const PAGE_BYTES_MAX: usize = 2 * 1024 * 1024;

impl Intake {
    pub(crate) async fn show(&self, caller: &Principal, run: RunId) -> Result<Reply, Problem> {
        self.may_read(caller).await?;
        let head = visible(self.heads.as_ref(), caller, run).await?;
        let state = recall_and_save(self.journal.as_ref(), run, head.expires).await?;
        Ok(Reply::json(200, &Shown::of(head, &state, &self.redactions))?.in_trace(state.trace))
    }

    pub(crate) async fn journal(&self, request: &Request, caller: &Principal, run: RunId) -> Result<Reply, Problem> {
        let from: Seq = match request.query("from").as_deref().map(str::parse) {
            None => 1,
            Some(Ok(from)) if from > 0 => from,
            Some(_) => return Err(Problem::new(Kind::Malformed, "`from` is not the number of an entry: 1, 2, 3 …")),
        };
        self.may_read(caller).await?;
        let head = visible(self.heads.as_ref(), caller, run).await?;
        let EntryPage { entries, more } = self.journal.page(run, from, PAGE_ENTRIES_MAX).await?;
        // Which tool a call is of, and what of it is not shown, is said earlier in the journal.
        let mut shown = match from {
            _ if entries.is_empty() => self.redactions.in_order(),
            1 => self.redactions.in_order(),
            _ => self.redactions.in_order_with(&recall_and_save(self.journal.as_ref(), run, head.expires).await?),
        };
        let (entries, next) = page(entries.iter().map(|entry| shown.entry(entry)).collect(), from, more);
        Reply::json(200, &Page { run_id: run, entries, next })
    }
}

/// As many entries as fit a page, at least one, and where the next page starts: `more` says whether there may be entries after them.
fn page(entries: Vec<Value>, from: Seq, more: bool) -> (Vec<ShownEntry>, Option<Seq>) {
    let (mut bytes, count) = (0, entries.len());
    let fits = |entry: &Value| {
        let before = bytes;
        bytes += entry.to_string().len();
        before == 0 || bytes <= PAGE_BYTES_MAX
    };
    let shown: Vec<ShownEntry> =
        entries.into_iter().take_while(fits).zip(from..).map(|(entry, seq)| ShownEntry { seq, entry }).collect();
    let next = shown.last().filter(|_| more || shown.len() < count).map(|last| last.seq + 1);
    (shown, next)
}
