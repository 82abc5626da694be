//! Kept answers of tools.

use std::time::Duration;

use serde_json::{Value, json};
use windlass::agent::answers::{AnswerKey, KeptAnswer};

use super::{SECOND, Stores};

const MOMENT: Duration = Duration::from_millis(1);

fn key(tenant: &str, tool: &str, arguments: &Value) -> AnswerKey {
    let (tenant, tool) = (tenant.parse().expect("a tenant"), tool.parse().expect("a tool"));
    AnswerKey::of(&tenant, &tool, arguments)
}

impl Stores {
    fn answer(&self, value: Value) -> KeptAnswer {
        KeptAnswer { value, given_at: self.now(), expires_at: self.now() + SECOND + MOMENT }
    }

    async fn keep(&self, key: &AnswerKey, answer: &KeptAnswer) {
        self.answers.keep(key, answer).await.expect("it is kept");
    }

    async fn kept(&self, key: &AnswerKey) -> Option<KeptAnswer> {
        self.answers.get(key, self.now()).await.expect("the store answers")
    }
}

pub async fn an_answer_comes_back_until_it_expires(stores: &Stores) {
    let key = key("acme", "shop/look_up", &json!({ "order": "A-1" }));
    assert_eq!(stores.kept(&key).await, None);
    let answer = stores.answer(json!({ "total": 1.5, "items": [null, "ä"] }));
    stores.keep(&key, &answer).await;
    stores.clock.advance(SECOND);
    assert_eq!(stores.kept(&key).await, Some(answer));
    stores.clock.advance(MOMENT);
    assert_eq!(stores.kept(&key).await, None);
}

pub async fn a_later_answer_takes_the_place_of_an_earlier_one(stores: &Stores) {
    let key = key("acme", "look_up", &json!({}));
    stores.keep(&key, &stores.answer(json!(1))).await;
    stores.clock.advance(SECOND);
    let later = stores.answer(json!(2));
    stores.keep(&key, &later).await;
    stores.clock.advance(SECOND);
    assert_eq!(stores.kept(&key).await, Some(later));
}

pub async fn tenants_tools_and_questions_share_no_answers(stores: &Stores) {
    let arguments = json!({ "order": "A-1" });
    stores.keep(&key("acme", "look_up", &arguments), &stores.answer(json!("acme's"))).await;
    for other in [
        key("globex", "look_up", &arguments),
        key("acme", "look_down", &arguments),
        key("acme", "look_up", &json!({ "order": "A-2" })),
    ] {
        assert_eq!(stores.kept(&other).await, None, "{other:?}");
    }
}
