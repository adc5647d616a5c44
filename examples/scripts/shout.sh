#!/bin/bash
# Say a text loudly.
#
# Returns: the text in capital letters
set -euo pipefail
printf '%s!\n' "${INPUT_TEXT^^}"
