// bpr
