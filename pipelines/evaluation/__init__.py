"""How good a finished model is: measures, calibration, its most confident mistakes, a report."""
