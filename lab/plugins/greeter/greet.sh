#!/bin/sh
echo "Hello from the plant."
