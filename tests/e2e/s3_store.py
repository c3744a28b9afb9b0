"""A store that speaks S3 (moto) on a port of its own, which asks for signatures as Amazon's does and can be stopped."""

import contextlib

import boto3
import requests
from moto.server import ThreadedMotoServer

BUCKET = "pictures"
POLICY = '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}'


class Store:
    """A bucket, and keys that may do all with it. `environment` is what a program needs to use it."""

    def __init__(self):
        self.port = 0
        self.start()
        # What moto keeps is the process's: of a store that ran before this one nothing is left.
        for path, data in (("reset", None), ("reset-auth", "inf")):
            requests.post(f"{self.url}/moto-api/{path}", data=data, timeout=30).raise_for_status()
        iam = self.client("iam", "nobody", "nothing")
        iam.create_user(UserName="diffused")
        iam.put_user_policy(UserName="diffused", PolicyName="all", PolicyDocument=POLICY)
        key = iam.create_access_key(UserName="diffused")["AccessKey"]
        requests.post(f"{self.url}/moto-api/reset-auth", data="0", timeout=30).raise_for_status()
        self.s3 = self.client("s3", key["AccessKeyId"], key["SecretAccessKey"])
        self.s3.create_bucket(Bucket=BUCKET)
        self.environment = {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"],
                            "AWS_REGION": "us-east-1", "AWS_ENDPOINT_URL": self.url}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self, service: str, key_id: str, secret: str):
        return boto3.client(service, endpoint_url=self.url, region_name="us-east-1", aws_access_key_id=key_id,
                            aws_secret_access_key=secret)

    def start(self):
        """Again on the same port, with all that was kept."""
        self.server = ThreadedMotoServer("127.0.0.1", self.port, verbose=False)
        self.server.start()
        self.port = self.server.get_host_and_port()[1]

    def stop(self):
        self.server.stop()
        self.server._server.server_close()  # else connections are taken and never answered

    def objects(self, prefix: str) -> dict[str, bytes]:
        names = [item["Key"] for item in self.s3.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", [])]
        return {name: self.s3.get_object(Bucket=BUCKET, Key=name)["Body"].read() for name in names}

    def delete_bucket(self):
        for name in self.objects(""):
            self.s3.delete_object(Bucket=BUCKET, Key=name)
        self.s3.delete_bucket(Bucket=BUCKET)


@contextlib.contextmanager
def running():
    store = Store()
    try:
        yield store
    finally:
        with contextlib.suppress(Exception):
            store.stop()
