"""What is masked: the named rules, each a pattern for RE2 and the way to the bytes that are secret.

Where two rules fit at the same place the first in `RULES` wins. Patterns are bytes, one scan looks for all of
them, and there is no look-around: an `EDGE` is a byte (or an escape) before the secret, left out by group 1.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

from shipper.redact import crowded, pem, values

Span = tuple[int, int]
Spans = Callable[[bytes, Any, bool], list[Span]]
"""From a line, a match in it, and whether the line is cut at its end: what is secret; nothing: no secret."""


class Rule(NamedTuple):
    """One kind of secret."""

    name: str
    """The label of the counter, and the word in the mask."""
    start: bytes
    """How it begins, without long counts: they make a search for many rules slow on what they match."""
    pattern: bytes
    """All of it, tried where it begins."""
    spans: Spans


_ESCAPED = rb"|\\+[nrtbf]|\\+u[0-9A-Fa-f]{4}|%[0-9A-Fa-f]{2}|\[[0-9;]*m)"
EDGE = rb"(?:^|[^A-Za-z0-9_\-]" + _ESCAPED
r"""Before a short prefix. In JSON the n of `\n` can stand before it. URL-safe base64 has no edge inside."""
_EDGE_64 = rb"(?:^|[^A-Za-z0-9_+/\-]" + _ESCAPED
"""No base64 has it inside: before a prefix that can stand in an image by chance."""


def _token(name: str, *patterns: bytes) -> Rule:
    """Return a rule for secrets known by a prefix too long to come about by chance."""
    return _prefixed(name, EDGE + b"?", patterns)


def _edged(name: str, *patterns: bytes, edge: bytes = EDGE) -> Rule:
    """Return a rule for secrets whose prefix is short."""
    return _prefixed(name, edge, patterns)


def _prefixed(name: str, before: bytes, patterns: tuple[bytes, ...], spans: Spans = values.whole) -> Rule:
    starts = b"|".join(map(_start, patterns))
    # To the end of the word: what is left after the mask would have an edge that it did not have before.
    secret = b"((?:" + b"|".join(patterns) + b")[A-Za-z0-9_]*)"
    return Rule(name, before + b"(?:" + starts + b")", before + secret, spans)


def _named(name: str, pattern: bytes, spans: Spans) -> Rule:
    """Return a rule that goes by what stands before the secret."""
    return Rule(name, _GROUP.sub(lambda found: found[1] or b"(?:", pattern), pattern, spans)


_GROUP = re.compile(rb"(\\.|\[\^?(?:\\.|[^\]\\])*\])|\((?!\?)")
_COUNT = re.compile(rb"\{([0-9]+),?[0-9]*\}")
_START_COUNT = 6


def _start(pattern: bytes) -> bytes:
    """Return the pattern up to its first long count, and that shortened."""
    for count in _COUNT.finditer(pattern):
        if int(count[1]) > _START_COUNT:
            return pattern[: count.start()] + b"{%d}" % _START_COUNT
    return pattern


_W = rb"[A-Za-z0-9_\-]"
_A = rb"[A-Za-z0-9]"
_X = rb"[0-9a-fA-F]"

_PROVIDERS = (
    _token("anthropic_key", rb"sk-ant-" + _W + rb"{20,}"),
    _token("openrouter_key", rb"sk-or-" + _W + rb"{20,}"),
    _token("langfuse_key", rb"sk-lf-" + _W + rb"{20,}"),
    _token("openai_key", rb"sk-(?:proj|svcacct|admin|None|service)-" + _W + rb"{20,}"),
    _edged("openai_key", rb"sess-" + _A + rb"{40,}"),
    _prefixed("sk_key", EDGE, (rb"sk-" + _W + rb"{20,}",), values.key),
    _edged("google_key", rb"AIzaSy" + _W + rb"{33}", rb"AQ\.Ab" + _W + rb"{35,}"),
    _edged("google_key", rb"AIza" + _W + rb"{35}", edge=_EDGE_64),
    _edged(
        "google_oauth",
        rb"ya29\.[A-Za-z0-9_.\-]{20,}",
        rb"GOCSPX-" + _W + rb"{20,}",
    ),
    _edged("google_oauth", rb"1//0" + _W + rb"{30,}", edge=_EDGE_64),
    _edged("xai_key", rb"xai-" + _A + rb"{40,}"),
    _edged("groq_key", rb"gsk_" + _A + rb"{40,}"),
    _edged("perplexity_key", rb"pplx-" + _A + rb"{40,}"),
    _edged("huggingface_key", rb"hf_" + _A + rb"{34,}", rb"api_org_" + _A + rb"{34,}"),
    _edged("replicate_key", rb"r8_" + _A + rb"{37,}"),
    _edged("nvidia_key", rb"nvapi-" + _W + rb"{60,}"),
    _edged("cerebras_key", rb"csk-" + _A + rb"{40,}"),
    _edged("fireworks_key", rb"fw_" + _A + rb"{22,24}\b", rb"fpk_" + _A + rb"{20,}"),
    _edged("together_key", rb"tgp_v1_" + _W + rb"{40,}"),
    _edged("elevenlabs_key", rb"sk_" + _X + rb"{48}"),
    _edged("langsmith_key", rb"lsv2_(?:pt|sk)_" + _X + rb"{32}_" + _X + rb"{10}"),
    _edged(
        "search_key",
        rb"tvly-(?:dev-|prod-)?" + _W + rb"{30,}",
        rb"fc-" + _X + rb"{32}",
        rb"pcsk_" + _W + rb"{40,}",
        rb"jina_" + _A + rb"{50,}",
    ),
    _prefixed("search_key", EDGE, (rb"pa-" + _W + rb"{40,}",), values.key),
)

_SERVICES = (
    _edged("github_token", rb"gh[pousr]_" + _A + rb"{36,}", rb"github_pat_[A-Za-z0-9_]{36,}"),
    _edged("gitlab_token", rb"gl(?:pat|dt|oas|rt|cbt|ptt|ft|imt|agent|soat|ffct)-[A-Za-z0-9_.\-]{20,}"),
    _edged(
        "slack_token", rb"xox[abcdeoprs](?:\.xox[bp])?-[A-Za-z0-9\-]{10,}", rb"xapp-[0-9]-[A-Za-z0-9\-]{20,}"
    ),
    _token(
        "webhook_url",
        rb"hooks\.slack\.com(?:\\*/)(?:services|workflows)(?:\\*/)[A-Za-z0-9_/\\]{30,}[A-Za-z0-9_]",
        rb"discord(?:app)?\.com(?:\\*/)api(?:\\*/)webhooks(?:\\*/)[0-9]{16,20}(?:\\*/)" + _W + rb"{60,}",
    ),
    _edged("stripe_key", rb"(?:sk|rk)_(?:live|test|prod)_" + _A + rb"{16,}", rb"whsec_[A-Za-z0-9+/]{32,}=*"),
    _edged("npm_token", rb"npm_" + _A + rb"{36}"),
    _edged("pypi_token", rb"pypi-AgEI" + _W + rb"{50,}"),
    _edged("rubygems_key", rb"rubygems_" + _X + rb"{48}"),
    _edged("sendgrid_key", rb"SG\." + _W + rb"{16,}\." + _W + rb"{16,}"),
    _edged("mailgun_key", rb"key-" + _X + rb"{32}\b"),
    _edged("twilio_key", rb"SK[0-9a-f]{32}\b"),
    _edged("digitalocean_token", rb"do[opr]_v1_" + _X + rb"{64}"),
    _edged("docker_token", rb"dckr_(?:pat|oat)_" + _W + rb"{27,}"),
    _edged("shopify_token", rb"shp(?:at|ca|pa|ss)_" + _X + rb"{32}"),
    _edged("telegram_token", rb"[0-9]{8,10}:AA" + _W + rb"{33}\b"),
    _edged("databricks_token", rb"dapi" + _X + rb"{32}\b"),
    _edged("vault_token", rb"hv[sbr]\." + _W + rb"{24,}"),
    _edged("grafana_token", rb"glsa_" + _A + rb"{32}_" + _X + rb"{8}", rb"glc_[A-Za-z0-9+/]{32,}=*"),
    _edged("atlassian_token", rb"ATATT3[A-Za-z0-9_=\-]{60,}", rb"ATBB[A-Za-z0-9]{32}"),
    _edged("linear_key", rb"lin_(?:api|oauth)_" + _A + rb"{32,}"),
    _edged("notion_key", rb"ntn_" + _A + rb"{40,}"),
    _edged("supabase_key", rb"sbp_" + _X + rb"{40}", rb"sb_secret_" + _W + rb"{20,}"),
    _edged("sentry_token", rb"sntry[su]_[A-Za-z0-9+/=_\-]{60,}"),
    _edged("doppler_token", rb"dp\.(?:pt|st|ct|sa|scim|audit)\.[A-Za-z0-9_.\-]{40,}"),
    _edged("age_key", rb"AGE-SECRET-KEY-1[A-Z0-9]{58}"),
)

_B64 = rb"(?:[A-Za-z0-9+/]|\\+/|\\+u002[BbFf])"

_CLOUD = (
    _edged("aws_key_id", rb"(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}\b"),
    _edged(
        "aws_bedrock_key",
        rb"ABSK" + _B64 + rb"{100,}=*",
        rb"bedrock-api-key-" + _B64 + rb"{40,}=*",
        edge=_EDGE_64,
    ),
    _edged("alibaba_key_id", rb"LTAI" + _A + rb"{16,24}\b", edge=_EDGE_64),
    _token("azure_key", rb"[A-Za-z0-9_~.]{3}[0-9]Q~[A-Za-z0-9_~.\-]{31,34}"),
)

_PASSWORD = rb"(?:[^\s/\"'\\]|'[A-Za-z0-9%]|\\+u00(?:26|3[CcEe]))"
"""In a URL, with signs that should have been encoded and are not; a quote only within a word."""

_KEYS = (
    _named("private_key", rb"----(?:-| )BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?(?:-| )----", pem.spans),
    _named("private_key", rb"Private-Lines: [0-9]+", pem.spans),
    _named("private_key", rb"-----END [A-Z0-9 ]*PRIVATE KEY", pem.spans_before),
)

_SHAPES = (
    _edged(
        "jwt",
        rb"eyJ" + _W + rb"{8,}\.eyJ" + _W + rb"{8,}\." + _W + rb"{8,}",
        rb"eyJ" + _W + rb"{15,}\." + _W + rb"*\." + _W + rb"+\." + _W + rb"+\." + _W + rb"+",
    ),
    _prefixed("bearer_token", rb"(?i:bearer)(?:\s+|%20|\+)", (rb"[A-Za-z0-9._~+/=\-]{16,}",), values.mixed),
    _named("basic_auth", rb"[\"']auth\\*[\"']\s*:\s*\\*[\"']([A-Za-z0-9+/]{8,}={0,2})", values.basic),
    _named("basic_auth", rb"(?i:basic)(?:\s+|%20|\+)([A-Za-z0-9+/]{8,}={0,2})", values.basic),
    _named(
        "url_password",
        rb":(?:\\*/){2}([^\s/?#:@\"'\\<>\[\](){}]*)(?::(" + _PASSWORD + rb"+))?@",
        values.userinfo,
    ),
)

_HEADERS = (
    rb"x-api-key|api-key|x-goog-api-key|xi-api-key|ocp-apim-subscription-key|x-functions-key|x-auth-token"
    rb"|x-amz-security-token|x-vault-token|private-token|x-gitlab-token|x-auth-key|x-access-token"
)
_FIELDS = (
    rb"passw(?:or)?d|passphrase|secret|api[_-]?key|secret[_-]?key|access[_-]?key|account[_-]?key|shared[_-]?access[_-]?key"
    rb"|secret[_-]?access[_-]?key|(?:access|refresh|auth|session|security|bearer|id|api)[_-]?token"
)
_OPAQUE = rb"token|(?:signing|encryption|master|deploy)[_-]?key|credentials?|pwd|pass"
"""Names of much else too."""
_QUERY = (
    rb"key|api[_-]?key|token|access[_-]?token|refresh[_-]?token|id[_-]?token|auth|sig|signature|secret|client[_-]?secret|password"
    rb"|pwd|pass|jwt|bearer|subscription-key|x-amz-signature|x-amz-security-token|x-goog-signature"
)
_IS = rb"\\*[\"']?\s*(?::|=>?)\s*"
_QUOTED = rb"(?:\[\s*)?(\\*[\"'])"

_ANY = _HEADERS + rb"|" + _FIELDS + rb"|" + _OPAQUE
_NEXT = rb"(?:\\*[\"'`]?\s*(?::|=>?)\s*|\\*[\"'`]\s*,\s*)(?:\[\s*)?(?:\\*[\"'`])?"
"""Between a name and its value, in settings, programs, and lists of pairs."""
_OPAQUE_VALUE = rb"[A-Za-z0-9_+/=.~%\-]{16}"
_WORD = rb"[^\s\"'`\\<>&;|(){}\[][^\s\"'`\\<>&;|(){}]{7,}"
"""Of a command line. No mask is one: it would be judged a second time."""
_SPOKEN = rb"(?i:secret[ _-]access[ _-]key|authtoken|api[_-]key|access[_-]token)(?:\s\[[^\]\s]*\])?:?"
_GAP = rb"(?:\s|\\+[nrt])+"

_NAMED = (
    _named("authorization", rb"(?i:authorization)" + _IS + _QUOTED, values.authorization),
    _named("header_key", rb"(?i:" + _HEADERS + rb")" + _IS + _QUOTED, values.header),
    _named("header_key", rb"(?i:" + _HEADERS + rb")\s*:\s*([A-Za-z0-9_+/=.~%\-]{8})", values.bare),
    _named(
        "secret_field",
        rb"(?:PASSW(?:OR)?D|PASSPHRASE|SECRET(?:_KEY)?)=([^\s\"'`\\\[][^\s\"'`]{5})",
        values.setting,
    ),
    _named("secret_field", rb"(?i:" + _FIELDS + rb")" + _IS + _QUOTED, values.field),
    _named("secret_field", rb"(?i:" + _FIELDS + rb")\s*[:=]\s*([A-Za-z0-9_+/=.~%\-]{6})", values.bare),
    _named("secret_field", rb";\s*P(?:assword|wd|WD)=(" + _WORD + rb")", values.option),
    _named("query_key", rb"(?:[?&;]|\\+u0026)(?i:" + _QUERY + rb")=([A-Za-z0-9_+/=.~%\-]{8})", values.bare),
    _named(
        "authorization",
        rb"(?i:authorization)\s*:\s*(?i:(?:token|apikey|api-key|key)\s+)?([A-Za-z0-9_+/=.~%\-]{8})",
        values.bare,
    ),
    _named("authorization", rb"[ ,]Signature=([0-9a-f]{64})", values.whole),
    _named("secret_field", rb"(?i:" + _ANY + rb")" + _NEXT + rb"(" + _OPAQUE_VALUE + rb")", values.opaque),
    _named(
        "secret_field",
        rb"--(?:[A-Za-z0-9]+[_-]){0,3}(?i:"
        + _FIELDS
        + rb"|token|pass|pwd)(?:\s+|=)\\*[\"']?("
        + _WORD
        + rb")",
        values.option,
    ),
    _named("secret_field", _SPOKEN + rb"\s+(" + _OPAQUE_VALUE + rb")", values.opaque),
    _named(
        "secret_field",
        rb"(?i:" + _FIELDS + rb")(?:>|\\+u003[Ee])(" + _WORD + rb")(?:<|\\+u003[Cc])/",
        values.option,
    ),
    _named(
        "secret_field",
        rb"machine"
        + _GAP
        + rb"[^\s\"'\\]+"
        + _GAP
        + rb"login"
        + _GAP
        + rb"[^\s\"'\\]+"
        + _GAP
        + rb"password"
        + _GAP
        + rb"([^\s\"'\\]{4,})",
        values.password,
    ),
    _named(
        "secret_field",
        rb"\s(?:-u|--user)\s+\\*[\"']?[^\s:\"'\\]+:(" + _WORD + rb")",
        values.option_of(b"curl"),
    ),
    _named("secret_field", rb"\s-p\\*[\"']?(" + _WORD + rb")", values.option_of(b"mysql")),
)

RULES = (*_KEYS, *_NAMED, *_PROVIDERS, *_SERVICES, *_CLOUD, *_SHAPES)
NAMES = (*dict.fromkeys(rule.name for rule in RULES), crowded.RULE)
