#!/usr/bin/env bash
# Inside the virtual machine: runs the tests in the tree that was unpacked here, and turns the machine off.
mapfile -d '' -t arguments <arguments
stty -opost </dev/ttyS1
export HOME=/root PYTHONPATH=/opt/python COLUMNS=115
python3 -m pytest -o testpaths=tests/vm --color=no -p no:cacheprovider "${arguments[@]}" </dev/null
echo $? >/dev/ttyS2
systemctl poweroff --force --force
