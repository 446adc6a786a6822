"""All cases, in order; names are unique within their group."""

import cases_connection
import cases_framing
import cases_head
import cases_limits
import cases_response

CASES = [case for module in (cases_head, cases_framing, cases_connection, cases_response, cases_limits)
         for case in module.CASES]
GROUPS = list(dict.fromkeys(case.group for case in CASES))

assert len({(case.group, case.name) for case in CASES}) == len(CASES), "two cases have one name"
