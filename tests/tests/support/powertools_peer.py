"""A function with Powertools for AWS Lambda, driven line by line: a request per line in, answers per line out.

{"do": {"order": …, "answer": …}}      calls an idempotent function with the order; it answers so
    "validate": true                   with validation of the order's amount
    "remaining_millis": 5000           with so much left of the invocation; without it, no Lambda context is registered
    "expires_after_seconds": 3600      how long the record counts
    "hold": true                       says {"inside": true} once it is in the function and waits there for another line
    "fail": true                       raises there
{"hash": [value, …]}                   the keys of these values
"""

import json
import sys
import warnings

import boto3
from aws_lambda_powertools.utilities.idempotency import (
    DynamoDBPersistenceLayer,
    IdempotencyConfig,
    idempotent_function,
)

warnings.simplefilter("ignore")
url, table, prefix = sys.argv[1:4]
client = boto3.client(
    "dynamodb", endpoint_url=url, region_name="us-east-1", aws_access_key_id="local", aws_secret_access_key="local"
)


class Context:
    def __init__(self, remaining_millis):
        self.remaining_millis = remaining_millis

    def get_remaining_time_in_millis(self):
        return self.remaining_millis


def say(line):
    print(json.dumps(line), flush=True)


def settings(request):
    return IdempotencyConfig(
        event_key_jmespath="id",
        payload_validation_jmespath="amount" if request.get("validate") else "",
        expires_after_seconds=request.get("expires_after_seconds", 3600),
        hash_function="sha256",
    )


def do(request):
    config = settings(request)
    if "remaining_millis" in request:
        config.register_lambda_context(Context(request["remaining_millis"]))
    ran = False

    @idempotent_function(
        data_keyword_argument="order",
        key_prefix=prefix,
        config=config,
        persistence_store=DynamoDBPersistenceLayer(table_name=table, boto3_client=client),
    )
    def refund(order):
        nonlocal ran
        ran = True
        if request.get("hold"):
            say({"inside": True})
            sys.stdin.readline()
        if request.get("fail"):
            raise RuntimeError("the desk is closed")
        return request.get("answer")

    try:
        answer = refund(order=request["order"])
    except Exception as error:
        return {"error": type(error).__name__, "ran": ran}
    return {"answer": answer, "ran": ran}


def hashes(values):
    layer = DynamoDBPersistenceLayer(table_name=table, boto3_client=client)
    layer.configure(settings({}), key_prefix=prefix)
    layer.event_key_jmespath = ""
    return [layer._get_hashed_idempotency_key(value) for value in values]


for line in sys.stdin:
    request = json.loads(line)
    say(do(request["do"]) if "do" in request else {"hashes": hashes(request["hash"])})
