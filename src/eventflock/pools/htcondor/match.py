# A placeholder by the lead, for trying the rest; replace this file.
def explain(job, slots): return None
def in_words(verdict): return ""
