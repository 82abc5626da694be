//! Accounts on DynamoDB. An account is one small item, whatever is open; each open reservation is another.
//!
//! | item | holds |
//! |---|---|
//! | `pk = budget#<tenant>#<actor>`, `sk = <date>` | `usd` and `tokens`: spent and reserved together, since a condition compares one attribute; `used_usd` and `used_tokens`: known to be spent; marks |
//! | the same `pk`, `sk = <date>#<deadline>#<id>` | an open reservation; who is settling it, and at what |
//!
//! Two items are changed one after the other, not in a transaction: transactions on one item turn each other away. A *mark* (`m#<id>` for
//! a reservation, `d#<id>` for a settlement) is set with the sums, so that a repetition after a lost answer does not count twice. It
//! goes with the next write of the same process to the account, once the other item says the same.
//!
//! ```text
//! A: account: sums + 40, mark m IF it fits and no m ── put reservation ── asks ── reservation: settling at 12, by A
//!                                                     ── account: sums − 28, used + 12, mark d, no m IF no d ── delete reservation
//! A: … sums + 40, mark m ── no answer ──► again: m is there: not counted again ── put reservation
//! B: … sums + 40, mark m ── dies         ──► once it is dead for certain: m without a reservation: used + 40, no m
//! B: … put reservation ── dies           ──► once it is dead for certain: reservation: settling at 40, by C ── as above
//! B: … settling at 12 ── (sums, mark d?) ── dies ──► reservation: settling at 12, by C ── counted only IF no d
//! ```

use std::{
    collections::{BTreeSet, VecDeque},
    hash::{BuildHasher as _, Hasher as _, RandomState},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use aws_sdk_dynamodb::{
    Client,
    operation::update_item::builders::UpdateItemFluentBuilder,
    types::{AttributeValue, ReturnValue},
};

use super::{
    attributes::{number, seconds, text},
    errors::Fault,
    head_item::Item,
    lease::{Updated, update},
};
use crate::{
    budgets::{
        ACCOUNT_KEPT_FOR, Account, Allowance, Balance, BudgetError, Budgets, Reservation, Reserved, Spend, is_dead,
    },
    clock::{CLOCK_SKEW_MAX, Timestamp},
};

/// It has not been counted yet.
const UNCOUNTED: &str = "attribute_not_exists(#mark)";
/// It fits.
const FITS: &str =
    "(attribute_not_exists(usd) OR usd <= :room_usd) AND (attribute_not_exists(#tokens) OR #tokens <= :room_tokens)";
/// The reservation is open, and nobody else settles it.
const MINE_TO_SETTLE: &str = "attribute_exists(pk) AND (attribute_not_exists(settler) OR settler = :me)";
/// It is settled by somebody who is dead for certain.
const LEFT_BEHIND: &str = "settler = :them";

/// Before the id in the mark of a reservation.
const RESERVED: &str = "m#";
/// Before the id in the mark of a settlement.
const SETTLED: &str = "d#";

/// The most that is compared with: DynamoDB's numbers have 38 digits, ours must not need more than 63 bits.
const UNBOUNDED: u64 = i64::MAX as u64;

/// How many marks one write takes away: an expression has 4 KB.
const MARKS_REMOVED_MAX: usize = 16;

/// How many marks a process remembers to take away. Those that it forgets are taken away once they are old.
const MARKS_REMEMBERED_MAX: usize = 1_024;

/// How many marks an account holds before old ones are looked for. It is as many as fit with the sums into four write units.
const MARKS_MAX: usize = 48;

/// After how long the mark of a settlement is of no use: far longer than anything is repeated for.
const MARK_KEPT_FOR: Duration = Duration::from_secs(3_600);

/// The most reservations of dead processes that one refusal settles. The next one goes on.
const ORPHANS_MAX: i32 = 25;

/// Accounts on DynamoDB.
#[derive(Clone)]
pub struct Accounts {
    client: Client,
    table: String,
    /// Who settles, among processes.
    me: Arc<str>,
    /// Marks that say what other items say by now.
    spent_marks: Arc<Mutex<VecDeque<(Account, String)>>>,
}

/// An open reservation as it is kept.
struct Open {
    reservation: Reservation,
    settling: Option<(String, Spend)>,
}

impl Accounts {
    /// Accounts in the `controls` table of this name.
    pub fn new(client: Client, table: &str) -> Self {
        let me = format!("{:016x}", RandomState::new().build_hasher().finish());
        Self { client, table: table.to_owned(), me: me.into(), spent_marks: Arc::default() }
    }

    fn update_item(&self, account: &Account, sort_key: &str) -> UpdateItemFluentBuilder {
        let request = self.client.update_item().table_name(&self.table);
        request.key("pk", text(partition(account))).key("sk", text(sort_key))
    }

    /// Adds to the sums of an account under a mark, and takes marks away that are of no use any more.
    async fn count(&self, counted: Count<'_>) -> Result<Updated, Fault> {
        let Count { account, mark, value, removed, sums, used, fits } = counted;
        let spent = self.spent_marks(account);
        let mut request = self
            .update_item(account, &account.date())
            .return_values(ReturnValue::AllNew)
            .expression_attribute_names("#mark", &mark)
            .expression_attribute_names("#tokens", "tokens")
            .expression_attribute_values(":mark", text(value))
            .expression_attribute_values(":expires", seconds(account.renews_at() + ACCOUNT_KEPT_FOR))
            .expression_attribute_values(":usd", number(sums.0))
            .expression_attribute_values(":new_tokens", number(sums.1))
            .expression_attribute_values(":used_usd", number(used.micro_usd))
            .expression_attribute_values(":used_tokens", number(used.tokens));
        let mut expression = "SET #mark = :mark, expires = :expires ADD usd :usd, #tokens :new_tokens, used_usd :used_usd, used_tokens :used_tokens".to_owned();
        let gone: BTreeSet<&String> = spent.iter().chain(removed.as_ref()).filter(|gone| **gone != mark).collect();
        for (index, gone) in gone.iter().enumerate() {
            expression.push_str(if index == 0 { " REMOVE " } else { ", " });
            expression.push_str(&format!("#g{index}"));
            request = request.expression_attribute_names(format!("#g{index}"), *gone);
        }
        let mut condition = UNCOUNTED.to_owned();
        if let Some(room) = fits {
            condition = format!("{UNCOUNTED} AND {FITS}");
            request = request
                .expression_attribute_values(":room_usd", number(room.micro_usd.min(UNBOUNDED)))
                .expression_attribute_values(":room_tokens", number(room.tokens.min(UNBOUNDED)));
        }
        let updated = update(request.update_expression(expression).condition_expression(condition)).await;
        if !matches!(updated, Ok(Updated::Yes(_))) {
            spent.into_iter().for_each(|mark| self.spend_mark(account, mark));
        }
        updated
    }

    /// Marks of an account that are of no use any more.
    fn spent_marks(&self, account: &Account) -> Vec<String> {
        let mut all = self.spent_marks.lock().unwrap_or_else(PoisonError::into_inner);
        let mut spent = Vec::new();
        all.retain(|(of, mark)| {
            let taken = of == account && spent.len() < MARKS_REMOVED_MAX;
            if taken {
                spent.push(mark.clone());
            }
            !taken
        });
        spent
    }

    fn spend_mark(&self, account: &Account, mark: String) {
        let mut all = self.spent_marks.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MARKS_REMEMBERED_MAX {
            all.pop_front();
        }
        if !all.iter().any(|(of, known)| of == account && *known == mark) {
            all.push_back((account.clone(), mark));
        }
    }

    /// Says of an open reservation who settles it at what; false when it is not there, or somebody else does.
    async fn take_up(&self, reservation: &Reservation, used: Spend, from: Option<&str>) -> Result<bool, Fault> {
        let request = self
            .update_item(&reservation.account, &sort_key(reservation))
            .update_expression("SET settler = :me, used = :used")
            .expression_attribute_values(":me", text(&self.me))
            .expression_attribute_values(":used", text(format!("{}:{}", used.micro_usd, used.tokens)));
        let request = match from {
            None => request.condition_expression(MINE_TO_SETTLE),
            Some(them) => request.condition_expression(LEFT_BEHIND).expression_attribute_values(":them", text(them)),
        };
        Ok(matches!(update(request).await?, Updated::Yes(_)))
    }

    /// Counts a reservation that was taken up, once, and deletes it.
    async fn close(&self, reservation: &Reservation, used: Spend, now: Option<Timestamp>) -> Result<(), Fault> {
        let Reservation { account, id, worst, .. } = reservation;
        let change = |used: u64, worst: u64| i128::from(used) - i128::from(worst);
        let mark = format!("{SETTLED}{id}");
        let counted = Count {
            account,
            mark: mark.clone(),
            // When it may be taken away by somebody else.
            value: (now.unwrap_or(reservation.deadline) + MARK_KEPT_FOR).as_millis().to_string(),
            removed: Some(format!("{RESERVED}{id}")),
            sums: (change(used.micro_usd, worst.micro_usd), change(used.tokens, worst.tokens)),
            used,
            fits: None,
        };
        self.count(counted).await?;
        let delete = self.client.delete_item().table_name(&self.table).key("pk", text(partition(account)));
        let delete = delete.key("sk", text(sort_key(reservation))).send().await;
        delete.map_err(|error| Fault::of("DeleteItem", &error))?;
        self.spend_mark(account, mark);
        Ok(())
    }

    /// Settles what dead processes left: reservations, and marks without one.
    async fn tidy(&self, account: &Account, item: &Item, now: Timestamp) -> Result<(), Fault> {
        for Open { reservation, settling } in self.dead(account, now).await? {
            let (used, from) = match &settling {
                Some((them, used)) if **them != *self.me => (*used, Some(them.as_str())),
                Some((_, used)) => (*used, None),
                None => (reservation.worst, None),
            };
            if self.take_up(&reservation, used, from).await? {
                self.close(&reservation, used, Some(now)).await?;
            }
        }
        for (mark, value) in item.iter().filter_map(|(name, value)| Some((name, value.as_s().ok()?))) {
            if let (Some(_), Some(until)) = (mark.strip_prefix(SETTLED), value.parse().ok().map(Timestamp::from_millis))
            {
                if until <= now {
                    self.spend_mark(account, mark.clone());
                }
            } else if let Some(reservation) = marked(account, mark, value).filter(|one| is_dead(one.deadline, now)) {
                // Whoever set it died before it put the reservation there, or before it took the mark away.
                if self.open(&reservation).await?.is_none() {
                    self.give_up(&reservation, mark).await?;
                }
            }
        }
        Ok(())
    }

    /// Counts a reservation that exists as a mark only at its worst, and takes the mark away.
    async fn give_up(&self, reservation: &Reservation, mark: &str) -> Result<(), Fault> {
        let Reservation { account, worst, .. } = reservation;
        let request = self
            .update_item(account, &account.date())
            .update_expression("REMOVE #mark ADD used_usd :used_usd, used_tokens :used_tokens")
            .condition_expression("attribute_exists(#mark)")
            .expression_attribute_names("#mark", mark)
            .expression_attribute_values(":used_usd", number(worst.micro_usd))
            .expression_attribute_values(":used_tokens", number(worst.tokens));
        update(request).await.map(drop)
    }

    async fn get(&self, account: &Account, sort_key: &str) -> Result<Option<Item>, Fault> {
        let request = self.client.get_item().table_name(&self.table);
        let request = request.key("pk", text(partition(account))).key("sk", text(sort_key));
        let answer = request.consistent_read(true).send().await.map_err(|error| Fault::of("GetItem", &error))?;
        Ok(answer.item)
    }

    async fn open(&self, reservation: &Reservation) -> Result<Option<Item>, Fault> {
        self.get(&reservation.account, &sort_key(reservation)).await
    }

    /// Open reservations of an account whose process is dead for certain, the longest dead first.
    async fn dead(&self, account: &Account, now: Timestamp) -> Result<Vec<Open>, Fault> {
        let last = (now - CLOCK_SKEW_MAX).as_millis();
        let query = self
            .client
            .query()
            .table_name(&self.table)
            .consistent_read(true)
            .key_condition_expression("pk = :partition AND sk BETWEEN :first AND :last")
            .expression_attribute_values(":partition", text(partition(account)))
            .expression_attribute_values(":first", text(format!("{}#", account.date())))
            .expression_attribute_values(":last", text(format!("{}#{last:015}#~", account.date())))
            .limit(ORPHANS_MAX);
        let page = query.send().await.map_err(|error| Fault::of("Query", &error))?;
        Ok(page.items.unwrap_or_default().iter().filter_map(|item| read_open(account, item)).collect())
    }
}

/// A change of an account's sums.
struct Count<'a> {
    account: &'a Account,
    mark: String,
    value: String,
    removed: Option<String>,
    /// What is added to `usd` and `tokens`.
    sums: (i128, i128),
    used: Spend,
    /// Up to which sums it may be made; however high they are when `None`.
    fits: Option<Spend>,
}

#[async_trait]
impl Budgets for Accounts {
    async fn reserve(
        &self,
        reservation: &Reservation,
        allowance: Allowance,
        now: Timestamp,
    ) -> Result<Reserved, BudgetError> {
        let Reservation { account, id, worst, deadline } = reservation;
        let Some(room) = allowance.room_for(*worst) else { return Ok(Reserved::Exhausted) };
        if self.open(reservation).await?.is_some() {
            return Ok(Reserved::Done);
        }
        let mark = format!("{RESERVED}{id}");
        let counted = Count {
            account,
            mark: mark.clone(),
            value: format!("{}:{}:{}", worst.micro_usd, worst.tokens, deadline.as_millis()),
            removed: None,
            sums: (i128::from(worst.micro_usd), i128::from(worst.tokens)),
            used: Spend::default(),
            fits: Some(room),
        };
        let (item, counted) = match self.count(counted).await? {
            Updated::Yes(item) => (item.unwrap_or_default(), true),
            Updated::No(item) => (item.unwrap_or_default(), false),
        };
        if !counted && !item.contains_key(&mark) {
            self.tidy(account, &item, now).await?;
            let balance = self.balance(account).await?;
            return Ok(balance.refusal(allowance, *worst));
        }
        let put = self
            .update_item(account, &sort_key(reservation))
            .update_expression("SET worst = :worst, expires = :expires")
            .expression_attribute_values(":worst", text(format!("{}:{}", worst.micro_usd, worst.tokens)))
            .expression_attribute_values(":expires", seconds(account.renews_at() + ACCOUNT_KEPT_FOR));
        put.send().await.map_err(|error| Fault::of("UpdateItem", &error))?;
        self.spend_mark(account, mark);
        if item.keys().filter(|name| name.starts_with(RESERVED) || name.starts_with(SETTLED)).count() > MARKS_MAX {
            self.tidy(account, &item, now).await?;
        }
        Ok(Reserved::Done)
    }

    async fn settle(&self, reservation: &Reservation, used: Spend) -> Result<bool, BudgetError> {
        let taken = self.take_up(reservation, used, None).await?;
        if taken {
            self.close(reservation, used, None).await?;
        }
        Ok(taken)
    }

    async fn balance(&self, account: &Account) -> Result<Balance, BudgetError> {
        let item = self.get(account, &account.date()).await?.unwrap_or_default();
        let amount = |name: &str| {
            let found = item.get(name).and_then(|value| value.as_n().ok()?.parse().ok());
            found.unwrap_or(0)
        };
        let all = Spend { micro_usd: amount("usd"), tokens: amount("tokens") };
        let settled = Spend { micro_usd: amount("used_usd"), tokens: amount("used_tokens") };
        Ok(Balance { settled, reserved: all.minus(settled) })
    }
}

fn partition(account: &Account) -> String {
    format!("budget#{}#{}", account.tenant, account.actor)
}

/// By the deadline, so that the longest dead come first.
fn sort_key(reservation: &Reservation) -> String {
    let Reservation { account, id, deadline, .. } = reservation;
    format!("{}#{:015}#{id}", account.date(), deadline.as_millis())
}

fn spend(text: &str) -> Option<Spend> {
    let (micro_usd, tokens) = text.split_once(':')?;
    Some(Spend { micro_usd: micro_usd.parse().ok()?, tokens: tokens.parse().ok()? })
}

fn read_open(account: &Account, item: &Item) -> Option<Open> {
    let said = |name: &str| item.get(name).and_then(|value: &AttributeValue| value.as_s().ok());
    let mut parts = said("sk")?.splitn(3, '#').skip(1);
    let deadline = Timestamp::from_millis(parts.next()?.parse().ok()?);
    let id = parts.next()?.to_owned();
    let reservation = Reservation { account: account.clone(), id, worst: spend(said("worst")?)?, deadline };
    let settling = said("settler").zip(said("used").and_then(|used| spend(used)));
    Some(Open { reservation, settling: settling.map(|(settler, used)| (settler.clone(), used)) })
}

/// The reservation that a mark stands for.
fn marked(account: &Account, mark: &str, value: &str) -> Option<Reservation> {
    let id = mark.strip_prefix(RESERVED)?.to_owned();
    let (worst, deadline) = value.rsplit_once(':')?;
    let deadline = Timestamp::from_millis(deadline.parse().ok()?);
    Some(Reservation { account: account.clone(), id, worst: spend(worst)?, deadline })
}
