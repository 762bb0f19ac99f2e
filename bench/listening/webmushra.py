"""The configuration of webMUSHRA (audiolabs, Schoeffler et al. 2018), one test per domain.

Its documentation for experimenters defines the keys. Text is shown as HTML, so names are escaped.
"""

import html
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

#: Signals a rater can compare at once (BS.1534-3, 5.3), reference and anchors among them.
MOST_CONDITIONS = 12
#: BS.1534-3, 5.2; webMUSHRA refuses longer ones.
LONGEST_S = 12.0
INTRODUCTION = (
    "Each page plays one sound in several versions. Compare every version with the reference and "
    "rate its basic audio quality from 0 (bad) to 100 (excellent): any difference from the "
    "reference is to be judged as an impairment. One of the versions is the reference itself and "
    "has to be rated 100. Please use headphones."
)
RATER = "rater"


def make_config(
    title: str, test_id: str, pages: Sequence[Mapping[str, Any]], volume_stimulus: str
) -> dict[str, Any]:
    """Return the configuration of one test.

    Args:
        title: As raters see it.
        test_id: Name of the folder that results go to; letters, digits, hyphens.
        pages: From :func:`make_page`; each rater gets them in an order of their own.
        volume_stimulus: File to set the volume by.
    """
    return {
        "testname": html.escape(title),
        "testId": test_id,
        "bufferSize": 2048,
        "stopOnErrors": True,
        "showButtonPreviousPage": False,
        "remoteService": "service/write.php",
        "pages": [
            {"type": "generic", "id": "introduction", "name": "Welcome", "content": INTRODUCTION},
            {
                "type": "volume",
                "id": "volume",
                "name": "Volume",
                "content": "Set a comfortable volume now and leave it as it is.",
                "stimulus": volume_stimulus,
                "defaultVolume": 0.5,
            },
            ["random", *pages],
            {
                "type": "finish",
                "name": "Thank you",
                "content": "Please enter a name or code of your own, and send the ratings.",
                "showResults": False,
                "writeResults": True,
                "questionnaire": [{"type": "text", "label": "Name or code", "name": RATER}],
            },
        ],
    }


def make_page(trial_id: str, reference: str, stimuli: Mapping[str, str]) -> dict[str, Any]:
    """Return one MUSHRA page.

    Args:
        trial_id: That its ratings carry.
        reference: File of the reference; webMUSHRA hides it among the conditions by itself.
        stimuli: Name of each other condition -> file. The anchors are among them: we make them, so
            that they are the filters that the run's tables know too.
    """
    return {
        "type": "mushra",
        "id": trial_id,
        "name": "Rate the quality",
        "content": "",
        "showWaveform": True,
        "enableLooping": True,
        "strict": True,
        "reference": reference,
        "createAnchor35": False,
        "createAnchor70": False,
        "randomize": True,
        "showConditionNames": False,
        "stimuli": dict(stimuli),
    }


class _Dumper(yaml.SafeDumper):
    """Indents lists inside mappings, and repeats what stands twice."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: Any) -> bool:
        return True


def to_yaml(config: Mapping[str, Any]) -> str:
    """Return a configuration as the YAML that webMUSHRA's parser (yamljs) reads.

    That parser knows no value of several lines, and takes a list that begins on the line of the
    list around it (``- - random``) for a text.
    """
    text = yaml.dump(
        dict(config), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1_000_000
    )
    return text.replace("\n  - - random\n", "\n  -\n    - random\n")
