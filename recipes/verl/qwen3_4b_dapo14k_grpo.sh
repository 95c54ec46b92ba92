#!/usr/bin/env bash
exec "$(dirname "$0")/qwen3.sh" 4b grpo "$@"
