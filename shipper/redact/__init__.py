"""Masks secrets in lines before anything else sees them: `Redactor` in redactor.py, the rules in rules.py."""
