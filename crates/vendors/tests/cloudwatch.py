"""A CloudWatch on a port of its own that checks signatures, with ten minutes of one distribution in it.

Says one line of JSON: the port, an access key that it knows, and the first minute. Ends when its input does.
"""

import datetime
import json
import os
import sys

# The first three questions make the user; every later one has to be signed with his key.
os.environ["INITIAL_NO_AUTH_ACTION_COUNT"] = "3"

import boto3
from moto.server import ThreadedMotoServer

server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
port = server.get_host_and_port()[1]


def client(service, key="nobody", secret="nothing"):
    return boto3.client(
        service,
        endpoint_url=f"http://127.0.0.1:{port}",
        region_name="us-east-1",
        aws_access_key_id=key,
        aws_secret_access_key=secret,
    )


iam = client("iam")
iam.create_user(UserName="headwater")
# moto names an action by the service in its signature, Amazon by cloudwatch.
allowed = ["monitoring:GetMetricData", "monitoring:PutMetricData"]
policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": allowed, "Resource": "*"}]}
iam.put_user_policy(UserName="headwater", PolicyName="figures", PolicyDocument=json.dumps(policy))
key = iam.create_access_key(UserName="headwater")["AccessKey"]

now = datetime.datetime.now(datetime.timezone.utc).replace(second=0, microsecond=0)
start = now - datetime.timedelta(minutes=20)
dimensions = [{"Name": "DistributionId", "Value": "EDFDVBD6EXAMPLE"}, {"Name": "Region", "Value": "Global"}]


def point(name, minute, value, second=0):
    at = start + datetime.timedelta(minutes=minute, seconds=second)
    return {"MetricName": name, "Dimensions": dimensions, "Timestamp": at, "Value": value, "Unit": "None"}


points = []
for minute in range(10):
    # Two sums in one minute: the statistic has to add them.
    points += [point("Requests", minute, 600 + minute), point("Requests", minute, 400, second=30)]
    points += [point("BytesDownloaded", minute, 1_000_000 + minute)]
    points += [point("4xxErrorRate", minute, 2.0), point("5xxErrorRate", minute, 0.5)]
client("cloudwatch", key["AccessKeyId"], key["SecretAccessKey"]).put_metric_data(
    Namespace="AWS/CloudFront", MetricData=points
)

told = {"port": port, "id": key["AccessKeyId"], "secret": key["SecretAccessKey"], "start": int(start.timestamp())}
print(json.dumps(told), flush=True)
sys.stdin.read()
