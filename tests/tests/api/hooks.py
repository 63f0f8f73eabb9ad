"""What schemathesis cannot read off the OpenAPI document: texts that have a grammar, and relations between parameters."""

import json
from urllib.parse import parse_qs

import schemathesis
from hypothesis import strategies as st

HOSTS = ["h1", "sim-1", "nobody"]
METRICS = ["node_load1", "node_cpu_seconds_total", "node_memory_MemTotal_bytes", "dsmil_never_heard_of"]
LABELS = ["__name__", "cpu", "device", "host", "mode"]
UNITS = [("y", 2), ("w", 9), ("d", 9), ("h", 99), ("m", 99), ("s", 999), ("ms", 9999)]


def quoted(text):
    """A text as a selector quotes it; JSON escapes what Go and we do not, so what is odd is left to the backtick."""
    return "`" + text.replace("`", "'") + "`"


def matcher(named):
    labels = st.sampled_from([label for label in LABELS if not (named and label == "__name__")])
    values = st.one_of(st.sampled_from(HOSTS + METRICS + ["0", "idle"]), st.text(max_size=20)).map(quoted)
    patterns = st.sampled_from([".*", "h.*", "h1|sim-.*", "node_(load1|memory_.*)", "(?i)H1", "[^a-z]+", ""]).map(quoted)
    plain = st.tuples(labels, st.sampled_from(["=", "!="]), values)
    regex = st.tuples(labels, st.sampled_from(["=~", "!~"]), patterns)
    return st.one_of(plain, regex).map("".join)


def braces(named):
    return st.lists(matcher(named), max_size=3).map(lambda matchers: "{" + ", ".join(matchers) + "}")


def unit(name, most):
    return st.one_of(st.just(""), st.integers(1, most).map(lambda count: f"{count}{name}"))


DURATION = st.tuples(*(unit(name, most) for name, most in UNITS)).map("".join).filter(bool)
# A selector has to narrow something down: by a name in front of the braces, or within.
SELECTOR = st.one_of(
    st.sampled_from(METRICS),
    st.tuples(st.sampled_from(METRICS), braces(True)).map("".join),
    st.tuples(st.just("{__name__=~`node_(load.*|cpu_.*)`}")).map("".join),
)
RANGE = st.sampled_from(["[15s]", "[1m]", "[5m]", " [ 1h30m ] # an hour and a half"])
RANGE_SELECTOR = st.one_of(SELECTOR, st.tuples(SELECTOR, RANGE).map("".join))

schemathesis.openapi.format("prometheus-duration", DURATION)
schemathesis.openapi.format("promql-selector", SELECTOR)
schemathesis.openapi.format("promql-range-selector", RANGE_SELECTOR)

# What holds between parameters, which JSON Schema has no word for; the refusal's own text is the proof that it was that.
RELATIONS = ["end timestamp must not be before start time", "exceeded maximum resolution of 11,000 points"]


# What may not be left empty, by the last word of the path.
REQUIRED = {"query": ["query"], "query_range": ["query", "start", "end", "step"], "series": ["match[]"]}


@schemathesis.hook
def filter_failure(context, failure, case, response):
    """False for what is an answer as it should be, though a check cannot know that."""
    kind = type(failure).__name__
    if kind in ("ServerError", "RejectedPositiveData") and response.status_code == 503:
        # The client asked to wait less than the answer takes.
        given = {**(case.query or {}), **(case.body if isinstance(case.body, dict) else {})}
        return not (said(response).get("errorType") == "timeout" and given.get("timeout"))
    if kind == "RejectedPositiveData" and response.status_code == 400:
        error = said(response).get("error", "")
        return not any(relation in error for relation in RELATIONS)
    if kind == "AcceptedNegativeData" and isinstance(case.body, dict):
        required = REQUIRED.get(case.path.rsplit("/", 1)[-1], [])
        return not (same_bytes_in_a_form(case.body, required) or was_left_out(case.body, required, response))
    return True


def was_left_out(form, required, response):
    """Whether an optional parameter of the wrong type is nothing in a form, as a list without entries is: it was not sent."""
    body = response.request.body or ""
    sent = parse_qs(body.decode() if isinstance(body, bytes) else body, keep_blank_values=True)
    return any(name not in sent for name in form if name not in required)


def same_bytes_in_a_form(form, required):
    """Whether something is of the wrong type and yet, in a form, the same bytes as what is right."""
    if not isinstance(form.get("match[]", []), (dict, list)):
        return True
    # An empty optional parameter is an absent one; the document says so, as the other one of two schemas.
    if any(value == "" for name, value in form.items() if name not in required):
        return True
    return any(isinstance(value, str) and is_number(value) for value in form.values())


def is_number(text):
    try:
        float(text)
    except ValueError:
        return False
    return True


def said(response):
    try:
        document = json.loads(response.content)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}
